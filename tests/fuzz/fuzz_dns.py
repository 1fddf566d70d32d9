"""The DNS: answers of name servers."""

from __future__ import annotations

import dns.rcode
from harness import harness

from twisted_mta.resolver.answer import MOST_RECORDS, Malformed, is_truncated, read_answer
from twisted_mta.resolver.question import NoSuchName, Question
from twisted_mta.resolver.zone_text import WRITTEN

KINDS = ("A", "AAAA", "MX", "TXT", "CNAME", "PTR", "SRV", "TLSA", "CAA")
NUMBER = 0x3030  # "00"


@harness(
    words=rb"""
        00 \x81\x80\x00\x01\x00\x01\x00\x00\x00\x00 \x01a\x04test\x00\x00\x01\x00\x01 \xc0\x0c
        \x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x01 \x00\x05\x00\x01 \x00\x0f\x00\x01
        \x00\x10\x00\x01 \x00\x21\x00\x01 \x00\x34\x00\x01 \x01\x01\x00\x01 \x00\x29 \xc0\x00 \xff\xff
    """,
)
def dns_answer(data):
    """Octets are no answer to the question, or give records of its type, bounded, that can be written
    in a zone, or Malformed; with an error there are none; no pointer leads in a circle. The first
    octet chooses the type; the header's number is that of the question."""
    kind = KINDS[data[0] % len(KINDS)] if data else "A"
    question = Question.of("a.test", kind)
    octets = NUMBER.to_bytes(2) + data[3:]
    if len(octets) >= 16 + len(question.entry):
        # Where the question stands is not what is tried here.
        octets = octets[:12] + question.entry + octets[12 + len(question.entry) :]
    if not question.is_answered_by(NUMBER, octets):
        return
    is_truncated(octets)
    try:
        answer = read_answer(octets, question)
    except Malformed as error:
        assert str(error).isprintable()
        return
    assert len(answer.records) <= MOST_RECORDS and 0 <= answer.ttl < 2**31
    assert not answer.records or answer.rcode == dns.rcode.NOERROR
    for record in answer.records:
        written = WRITTEN[kind](record)
        assert isinstance(written, str)
    for name in (answer.canonical, *(record for record in answer.records if kind in ("CNAME", "PTR"))):
        assert name.isascii() and name.isprintable() and len(name) <= 1100


@harness(words=rb"a.test . .. xn-- \x5c046 \x5c. \xc3\xa9 _25._tcp", longest=600)
def dns_questions(data):
    """A name is a question of at most 255 octets, or NoSuchName."""
    for kind in ("A", "TLSA"):
        try:
            question = Question.of(data.decode("utf-8", "replace"), kind)
        except NoSuchName:
            continue
        assert len(question.entry) <= 259 and len(question.message(NUMBER)) < 300
