"""Reading answers, beside dnspython: what it reads is read alike, and no octets do harm."""

import struct

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from twisted_mta.resolver.answer import MOST_PARTS, MOST_RECORDS, Malformed, read_answer
from twisted_mta.resolver.question import NoSuchName, Question
from twisted_mta.resolver.zone_text import WRITTEN

NUMBER = 4711
ENTRY = b"\x01a\x04test\0"
HERE = b"\xc0\x0c"  # where the name of the question stands


def values(record):
    """What IResolver's methods give of a record of dnspython's."""
    target = {"MX": "exchange", "SRV": "target", "CNAME": "target", "PTR": "target"}
    kind = dns.rdatatype.to_text(record.rdtype)
    if kind in target:
        name = getattr(record, target[kind]).to_text(omit_final_dot=True).lower()
        name = "" if name == "." else name
    match kind:
        case "A" | "AAAA":
            return record.address
        case "MX":
            return record.preference, name
        case "SRV":
            return record.priority, record.weight, record.port, name
        case "TXT":
            return b"".join(record.strings).decode("latin-1")
        case "TLSA":
            return record.usage, record.selector, record.mtype, record.cert
        case "CAA":
            return record.flags, record.tag.decode("latin-1").lower(), record.value.decode("latin-1")
    return name


def as_dnspython_reads(octets):
    """(rcode, AD, records, canonical name, time to live), or None when it refuses."""
    try:
        message = dns.message.from_wire(octets)
        if message.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            return None
        chain = message.resolve_chaining()
    except Exception:  # it lets through what its parts raise
        return None
    records = tuple(map(values, chain.answer or ()))
    canonical = chain.canonical_name.to_text(omit_final_dot=True).lower()
    authentic = bool(message.flags & dns.flags.AD)
    return message.rcode(), authentic, records, canonical, chain.minimum_ttl if records else None


def as_read_here(octets, question):
    answer = read_answer(octets, question)
    ttl = answer.ttl if answer.records else None
    return answer.rcode, answer.authentic, answer.records, answer.canonical, ttl


labels = st.one_of(st.sampled_from([b"a", b"A", b"mx", b"test"]), st.binary(min_size=1, max_size=63))
names = st.lists(labels, max_size=3).map(lambda parts: dns.name.Name([*parts, b""]))
numbers = st.integers(0, 65535)
octet = st.integers(0, 255)
RDATA = {
    "A": st.binary(min_size=4, max_size=4),
    "AAAA": st.one_of(
        st.binary(min_size=16, max_size=16),
        st.binary(min_size=4, max_size=4).map(lambda v4: bytes(10) + b"\xff\xff" + v4),
    ),
    "MX": st.tuples(numbers, names).map(lambda mx: struct.pack("!H", mx[0]) + mx[1].to_wire()),
    "SRV": st.tuples(numbers, numbers, numbers, names).map(
        lambda srv: struct.pack("!HHH", *srv[:3]) + srv[3].to_wire()
    ),
    "PTR": names.map(dns.name.Name.to_wire),
    "CNAME": names.map(dns.name.Name.to_wire),
    "TXT": st.lists(st.binary(max_size=20), min_size=1, max_size=3).map(
        lambda strings: b"".join(bytes([len(string)]) + string for string in strings)
    ),
    "TLSA": st.tuples(octet, octet, st.sampled_from([(0, 3), (1, 32), (2, 64), (3, 1)])).map(
        lambda tlsa: bytes(tlsa[:2]) + bytes([tlsa[2][0]]) + b"\xab" * tlsa[2][1]
    ),
    "CAA": st.tuples(octet, st.sampled_from([b"issue", b"Iodef"]), st.binary(max_size=8)).map(
        lambda caa: bytes([caa[0], len(caa[1])]) + caa[1] + caa[2]
    ),
}
few_names = st.sampled_from([dns.name.from_text(name) for name in ("a.test", "B.test", "c.test")])


@st.composite
def answers(draw):
    """A question, and an answer to it."""
    kind = draw(st.sampled_from(sorted(RDATA)))
    owner = draw(few_names)
    message = dns.message.make_response(dns.message.make_query(owner, kind, use_edns=0))
    message.id = NUMBER
    message.flags |= draw(st.sampled_from([0, dns.flags.AD, dns.flags.AA]))
    message.set_rcode(draw(st.sampled_from([dns.rcode.NOERROR, dns.rcode.NOERROR, dns.rcode.NXDOMAIN])))
    for section in (message.answer, message.answer, message.authority, message.additional):
        for _ in range(draw(st.integers(0, 4))):
            aliased = kind != "CNAME" and draw(st.booleans())
            its_kind = "CNAME" if aliased else draw(st.sampled_from([kind, kind, "A", "MX"]))
            octets = draw(few_names).to_wire() if aliased else draw(RDATA[its_kind])
            record = dns.rdata.from_wire(dns.rdataclass.IN, its_kind, octets, 0, len(octets))
            rrset = message.find_rrset(section, draw(few_names), record.rdclass, record.rdtype, create=True)
            rrset.add(record, draw(st.sampled_from([0, 60, 3600, 2**31 - 1])))
    return Question.of(owner.to_text(), kind), message


@given(answers())
@settings(max_examples=60)
def test_what_dnspython_writes(answered):
    """With compressed names."""
    question, octets = answered[0], answered[1].to_wire(max_size=65535)
    assert question.is_answered_by(NUMBER, octets)
    expected = as_dnspython_reads(octets)
    if expected is None:
        with pytest.raises(Malformed):
            read_answer(octets, question)
    else:
        assert as_read_here(octets, question) == expected


@given(answers(), st.data())
@settings(max_examples=60)
def test_what_becomes_of_it_on_the_way(answered, data):
    """Octets are changed, cut off and added; what dnspython still reads is read alike."""
    question, octets = answered[0], answered[1].to_wire(max_size=65535)
    damaged = bytearray(octets)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(2, len(damaged) - 1))] = data.draw(octet)
    cut = data.draw(st.sampled_from([0, 0, 1, 5]))
    damaged = bytes(damaged[: len(damaged) - cut]) + data.draw(st.binary(max_size=3))
    assume(question.is_answered_by(NUMBER, damaged) and len(damaged) > 16)
    expected = as_dnspython_reads(damaged)
    try:
        answer = as_read_here(damaged, question)
    except Malformed:
        assert expected is None
    else:
        assert expected is None or expected == answer


@given(
    st.sampled_from(sorted(RDATA)),
    st.binary(max_size=200),
    st.lists(st.integers(0, 4), min_size=3, max_size=3),
)
def test_any_octets(kind, octets, counts):
    question = Question.of("a.test", kind)
    message = struct.pack("!HHHHHH", NUMBER, 0x8180, 1, *counts) + question.entry + octets
    assert question.is_answered_by(NUMBER, message)
    try:
        answer = read_answer(message, question)
    except Malformed:
        return
    assert answer.canonical == "a.test" or answer.records == () or counts[0]


@given(st.binary(max_size=60))
def test_what_is_no_answer_is_passed_over_whatever_it_is(octets):
    question = Question.of("a.test", "A")
    assert not question.is_answered_by(NUMBER, octets) or octets[:2] == struct.pack("!H", NUMBER)


@given(st.text(max_size=30))
def test_a_question_of_any_name(name):
    try:
        question = Question.of(name, "A")
    except NoSuchName:
        return
    (entry,) = dns.message.from_wire(question.message(NUMBER)).question
    assert entry.name == dns.name.from_text(name) and entry.rdtype == dns.rdatatype.A


@given(answers())
@settings(max_examples=60)
def test_records_as_a_zone_file_has_them(answered):
    question, octets = answered[0], answered[1].to_wire(max_size=65535)
    if as_dnspython_reads(octets) is None:
        return
    for value in read_answer(octets, question).records:
        text = WRITTEN[question.kind](value)
        if question.kind in ("A", "AAAA", "MX", "PTR", "CNAME", "SRV", "TLSA"):
            record = dns.rdata.from_text("IN", question.kind, text)
            assert values(record) == value


def test_a_property_of_a_certificate_authority_in_quotes():
    assert WRITTEN["CAA"]((128, "issue", r'ca.test; a="b\c"')) == r'128 issue "ca.test; a=\"b\\c\""'
    assert dns.rdata.from_text("IN", "CAA", r'128 issue "ca.test; a=\"b\\c\""').value == rb'ca.test; a="b\c"'


def test_an_rfc_1035_name_in_pieces():
    """RFC 1035 §4.1.4: F.ISI.ARPA, FOO.F.ISI.ARPA, ARPA and the root, at their places in a message."""
    question = Question.of("f.isi.arpa", "PTR")
    pieces = [b"\x03FOO" + HERE, b"\xc0\x12", b"\0"]
    assert read(question, *(record(12, piece) for piece in pieces)).records == ("foo.f.isi.arpa", "arpa", "")


# What could take long, or never end


def record(kind, rdata, owner=HERE):
    return owner + struct.pack("!HHIH", kind, 1, 60, len(rdata)) + rdata


def read(question, *records):
    header = struct.pack("!HHHHHH", NUMBER, 0x8180, 1, len(records), 0, 0)
    return read_answer(header + question.entry + b"".join(records), question)


LONG = b"\x01x" * 126 + b"\0"


def test_names_that_point_at_a_long_one():
    """A datagram of which dnspython reads 8,000 labels."""
    question = Question.of("a.test", "MX")
    first = 12 + len(question.entry) + 12
    pointers = [record(15, struct.pack("!HH", number, 0xC000 | first + 4)) for number in range(50)]
    records = read(question, record(15, b"\0\0" + LONG), *pointers).records
    assert len(records) == 51 and {name for _, name in records} == {
        "x." * 125 + "x"[:0] + "x" * 1,
        "x." * 124 + "x",
    }


def test_names_that_lead_nowhere():
    question = Question.of("a.test", "PTR")
    place = 12 + len(question.entry) + 12
    for rdata in (
        struct.pack("!H", 0xC000 | place),  # to itself
        struct.pack("!HH", 0xC000 | place + 2, 0xC000 | place),  # forward
        b"\x01x" + struct.pack("!H", 0xC000 | place),  # in a circle
        b"\xff\xff",
        b"\x40x\0",
        b"\x80x\0",
        b"\x3fx\0",
        b"\x01x",
        b"",
        LONG[:-1] + b"\x02xx\0",
    ):
        with pytest.raises(Malformed):
            read(question, record(12, rdata))


def test_pointers_lead_back():
    question = Question.of("a.test", "PTR")
    place = 12 + len(question.entry) + 12
    with pytest.raises(Malformed, match="leads nowhere"):
        read(question, record(12, struct.pack("!H", 0xC000 | place + 2)), record(12, HERE, owner=b"\0"))


def test_who_only_names_others_does_not_know():
    """RFC 2308 §2.2: a referral has NS and no SOA; who may be asked (RA) or knows (AA) makes none."""
    question = Question.of("a.test", "A")
    name_server, end_of_zone = record(2, HERE), record(6, HERE + HERE + bytes(20))
    for flags, authorities, lame in (
        (0x8000, (name_server,), True),
        (0x8000, (name_server, end_of_zone), False),
        (0x8000, (end_of_zone,), False),
        (0x8000, (), False),
        (0x8080, (name_server,), False),
        (0x8400, (name_server,), False),
    ):
        header = struct.pack("!HHHHHH", NUMBER, flags, 1, 0, len(authorities), 0)
        assert read_answer(header + question.entry + b"".join(authorities), question).lame is lame


def test_octets_behind_the_last_record():
    question = Question.of("a.test", "A")
    with pytest.raises(Malformed, match="more octets"):
        read(question, record(1, bytes(4)) + b"\0")


def test_bounds():
    question = Question.of("a.test", "A")
    address = [record(1, struct.pack("!I", number)) for number in range(MOST_RECORDS)]
    assert len(read(question, *address).records) == MOST_RECORDS
    with pytest.raises(Malformed, match="too many records"):
        read(question, *address, address[0])
    owners = [record(1, b"\0\0\0\0", owner=LONG)] * (MOST_PARTS // 126 + 1)
    with pytest.raises(Malformed, match="too many names"):
        read(question, *owners)
    with pytest.raises(Malformed, match="too many names"):
        read(Question.of("a.test", "TXT"), record(16, bytes(MOST_PARTS + 1)))


def test_aliases():
    question = Question.of("a.test", "A")

    def alias(number):
        return record(
            5, b"\x01%c" % (ord("b") + number) + b"\xc0\x0e", b"\x01%c" % (ord("a") + number) + b"\xc0\x0e"
        )

    chain = [alias(number) for number in range(15)]
    answer = read(question, *chain, record(1, bytes(4), b"\x01p\xc0\x0e"))
    assert (answer.canonical, answer.records) == ("p.test", ("0.0.0.0",))
    with pytest.raises(Malformed, match="aliases"):
        read(question, *chain, alias(15), record(1, bytes(4), b"\x01q\xc0\x0e"))
    assert read(question, *chain[:3]).canonical == "d.test"


def test_an_alias_of_the_root():
    assert read(Question.of("a.test", "MX"), record(5, b"\0")).canonical == "."


def test_a_time_to_live_that_is_none():
    """RFC 2181 §8: with the highest bit set it is 0."""
    question = Question.of("a.test", "A")
    long_lived = HERE + struct.pack("!HHIH", 1, 1, 2**31, 4) + bytes(4)
    assert read(question, long_lived).ttl == 0 and read(question, record(1, bytes(4))).ttl == 60
