"""What we ask others for: certificates that are shown in handshakes, a SOCKS proxy, an authority for
certificates, an LDAP server, the other process of our own; and what web browsers ask of us."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import re
import warnings
from xml.etree import ElementTree

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from fuzz_trust import at_once
from harness import harness, octets, same_however_cut
from ldap3.operation.search import parse_filter
from OpenSSL import crypto
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from twisted_mta.certificates.acme.client import Account, AcmeClient
from twisted_mta.certificates.acme.jws import AccountKey
from twisted_mta.certificates.acme.problem import AcmeError
from twisted_mta.certificates.acme.solvers import HttpSolver
from twisted_mta.certificates.challenges import Challenges
from twisted_mta.certificates.dns_update import TsigKey
from twisted_mta.directory.ldap.accounts import LdapSearches, login_entry
from twisted_mta.handover.frames import BadFrame, FrameReader, Kind, call, called, encode
from twisted_mta.https import Answer, FetchError
from twisted_mta.transfer.mta.relay.socks import SocksEngine, SocksError
from twisted_mta.transfer.mta.tls import dane
from twisted_mta.transfer.mta.tls.handshake import Peer, authorities, judged, readable
from twisted_mta.web import apple_profile, autodiscover, setup_page
from twisted_mta.web.acme_challenge import PATH as CHALLENGES
from twisted_mta.web.acme_challenge import AcmeChallenge
from twisted_mta.web.apple_profile import AppleProfile
from twisted_mta.web.autoconfig import Autoconfig
from twisted_mta.web.autodiscover import Autodiscover, AutodiscoverJson
from twisted_mta.web.listener import MOST_AT_ONCE, WebListener
from twisted_mta.web.mail_services import MailService, Setup
from twisted_mta.web.pages import Content, Door, Pages
from twisted_mta.web.setup_page import QrCode, SetupPage
from twisted_mta.wire.client_certificates import ClientAuthorities

CAUSES = {
    *("certificate-host-mismatch", "certificate-expired", "certificate-not-trusted", "validation-failure"),
}


@harness(
    words=rb"""
        \x30\x0d \x06\x03\x55\x1d\x11 \x06\x03\x55\x1d\x25 \x06\x03\x55\x04\x03 \x0c\x03a@b
        \xa0\x03\x02\x01\x02 \x82\x09mx.b.test \x81\x08a@b.test \x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07
        \xa3\x00 \x01\x01\xff
    """,
    longest=2048,
)
def shown_certificates(data):
    """Whatever certificate somebody shows that OpenSSL takes, it is accepted or doubted, with a cause of RFC
    8460: for a name, by the DNS (as a digest, and as a whole in the record), behind another one; only
    what is in the DNS is right; a client's speaks for texts."""
    warnings.simplefilter("ignore")  # of serial numbers and the like
    assert judged(dane.matcher([(2, 0, 0, data)], ["mx.b.test"]), Peer([], ())) is not None
    try:
        shown = crypto.load_certificate(crypto.FILETYPE_ASN1, data)
    except crypto.Error:
        return
    chain = readable([shown])
    whole = crypto.dump_certificate(crypto.FILETYPE_ASN1, shown)
    for peer in (Peer(chain, ()), Peer([*chain, *chain], ())):
        for check in (
            authorities(["mx.b.test", "192.0.2.1"]),
            dane.matcher([(3, 1, 1, bytes(32)), (2, 1, 2, bytes(64))], ["mx.b.test"]),
            dane.matcher([(2, 0, 1, hashlib.sha256(whole).digest()), (2, 0, 0, data)], ["mx.b.test"]),
        ):
            doubt = judged(check, peer)
            assert doubt is None or (doubt.cause in CAUSES and doubt.text.isprintable())
        assert judged(dane.matcher([(3, 1, 1, bytes(32))], []), peer) is not None
    if not chain:
        return
    der = chain[0].public_bytes(Encoding.DER)
    assert judged(dane.matcher([(3, 0, 1, hashlib.sha256(der).digest())], []), Peer(chain, ())) is None
    for address in ClientAuthorities(chain).addresses(chain[0]):
        assert isinstance(address, str) and address


@harness(
    words=rb"""
        \x05\x00 \x05\x02 \x01\x00 \x05\x00\x00\x01\xc0\x00\x02\x01\x00\x19 \x05\x00\x00\x03\x01a\x00\x19
    """,
    longest=600,
    tests=60,
)
def socks_proxy(data):
    """A proxy connects, or SocksError, which is printable; the same however it is cut; not one octet behind
    its reply is eaten; a login is told to nobody who has not asked for it."""

    def run(pieces):
        engine, fed = SocksEngine("2001:db8::1", 25, user="u", password="secret"), 0
        output = engine.take_output()
        for piece in pieces:
            if engine.established:
                break
            fed += len(piece)
            try:
                engine.receive(piece)
            except SocksError as error:
                assert str(error).isprintable()
                return str(error)
            output += engine.take_output()
        assert b"secret" not in output or data.startswith(b"\5\2")
        behind = fed - len(engine.rest) if engine.established else 0
        return engine.established, output, data[behind:] if engine.established else b""

    same_however_cut(run, data)


@harness(
    words=rb"""
        \x00\x00\x00\x05\x00\x00\x00\x00\x00 \x00\x00\x00\x09\x01\x00\x00\x00\x07\x03abc \xff\xff\xff\xff
    """,
    longest=2048,
    tests=60,
)
def handover_frames(data):
    """Frames, or BadFrame; the same however they are cut; written again they are the octets that they were
    read from; a call has a name that it can be made with."""

    def run(pieces):
        reader, frames = FrameReader(), []
        try:
            for piece in pieces:
                frames += reader.feed(piece)
        except BadFrame as error:
            return str(error)
        return frames

    found = same_however_cut(run, data)
    if isinstance(found, str):
        return
    assert data.startswith(b"".join(map(encode, found)))
    for frame in found:
        assert 0 <= frame.number < 2**32
        if frame.kind is Kind.CALL:
            try:
                name, argument = called(frame.payload)
            except BadFrame:
                continue
            assert call(name, argument) == frame.payload


class Authority:
    """Says the answers of a script, one after the other, and then the last one for ever: for each a status, a
    field and the content. As https.HttpsClient does, it takes only what can be a URL."""

    def __init__(self, script):
        self.script = script or [b""]
        self.asked = 0

    async def ask(self, method, url, body=b"", media_type="", *, limit=0):
        self.asked += 1
        if not (isinstance(url, str) and url.isascii()):
            raise FetchError("not an https URI")
        said = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        status, _, rest = said.partition(b" ")
        field, _, content = rest.partition(b"|")
        name, _, value = field.decode("latin-1").partition("=")
        fields = {"replay-nonce": "n", "location": "https://ca.test/1", name: value}
        return Answer(int(status) if re.fullmatch(rb"[2-5]\d\d", status) else 200, fields, content)


class Hurried(Clock):
    """Whatever is put off happens at once."""

    def callLater(self, delay, work, *args, **kwargs):
        assert 0 <= delay <= 30, "a wait without an end"
        call = super().callLater(0, work, *args, **kwargs)
        self.advance(0)
        return call


DIRECTORY = json.dumps(
    {name: f"https://ca.test/{name}" for name in ("newNonce", "newAccount", "newOrder", "renewalInfo")}
).encode()
ACCOUNT_KEY = AccountKey(ec.derive_private_key(7, ec.SECP256R1()))
CERTIFICATE_KEY = ec.derive_private_key(8, ec.SECP256R1())


@harness(
    words=rb"""
        {"status":"pending", "valid" "ready" "invalid" "processing" "authorizations":["https://ca.test/a"],
        "challenges":[{"type":"http-01","token":"t","url":"https://ca.test/c", "error":{"type":
        "urn:ietf:params:acme:error:caa" "detail":"x" "subproblems":[{ "finalize":"https://ca.test/f",
        "certificate":"https://ca.test/d"} \\ud800 \n 404\_retry-after=10| 200\_a=b| 429\_
        "suggestedWindow":{"start":"x","end":"y"} badNonce "caaIdentities":["ca.test"] null [] {}
    """,
    tests=40,
)
def acme_answers(data):
    """Whatever an authority answers, a line each, there is a certificate, or AcmeError with a printable
    sentence; it is asked a bounded number of times and nothing of a challenge stays behind. The first line
    is its directory, empty for a good one."""
    first, *script = data.split(b"\n")
    authority, challenges = Authority(script), Challenges()
    authority.script.insert(0, b"200 a=b|" + (first or DIRECTORY))
    client = AcmeClient("https://ca.test/", https=authority, reactor=Hurried())
    account = Account(ACCOUNT_KEY)
    solver = HttpSolver(challenges)

    async def order():
        await client.register(account, "a@b.test")
        return await client.certificate(
            account, "mx.b.test", CERTIFICATE_KEY, "http-01", solve=solver.solve, undo=solver.undo
        )

    for work in (order, lambda: client.renewal_information("id")):
        try:
            found = at_once(work())
        except AcmeError as error:
            assert str(error).isprintable() and len(str(error)) <= 1001
        else:
            assert found is None or isinstance(found, bytes | tuple)
    assert authority.asked < 500
    assert not challenges._answers


class Filters:
    """An LDAP server that keeps the filter that it is asked with."""

    def search(self, base, text, attributes, most):
        self.text = text
        return []


def tree_of(text):
    """A filter as ldap3 sends it: kinds, attributes and values."""

    def told(node):
        parts = {name: sent(part) for name, part in (node.assertion or {}).items()}
        return node.tag, parts, [told(child) for child in node.elements]

    def sent(part):
        octets_of = part if isinstance(part, bytes) else str(part).encode()
        return re.sub(rb"\\([0-9a-fA-F]{2})", lambda found: bytes.fromhex(found[1].decode()), octets_of)

    return told(parse_filter(text, None, False, False, None, False))


@harness(words=rb"a*b ( ) \\ \\2a \x00 \xc3\xa9 )(uid=* |( &", longest=300, tests=60)
def ldap_filters(data):
    """Whatever somebody gives as a login is a value in the filter, as ldap3 reads it, and nothing else in
    it."""
    login, client = data.decode("utf-8", "ignore"), Filters()
    searches = LdapSearches("o=x", "(mail={address})", "{mail}", "(&(a=b)(|(uid={login})(mail={login})))")
    if login_entry(client, searches, {"a.test"}, login) is None and not hasattr(client, "text"):
        assert not login.isprintable()
        return

    def with_login(node):
        tag, parts, children = node
        parts = {name: login.encode() if part == b"VALUE" else part for name, part in parts.items()}
        return tag, parts, [with_login(child) for child in children]

    if login.strip() == login and login:
        expected = tree_of("(&(a=b)(|(uid=VALUE)(mail=VALUE)))")
        assert tree_of(client.text) == with_login(expected), client.text


@harness(
    words=rb"""
        hmac-sha256:k:c2VjcmV0 key\_"k"\_{ algorithm\_hmac-sha512; secret\_"c2VjcmV0"; }; \n # // hmac-md5 . =
    """,
    longest=600,
    tests=40,
)
def tsig_keys(data):
    """A key of a name server is read, with a secret and a known algorithm, or ValueError with a sentence."""
    try:
        key = TsigKey.parse(data.decode("utf-8", "replace"))
    except ValueError as error:
        assert str(error)
        return
    assert key.name and key.algorithm in ("hmac-sha256", "hmac-sha384", "hmac-sha512")
    assert isinstance(key.secret, bytes)


SETUP = Setup(
    tuple(MailService(name, "mail.a.test", port) for name, port in (("imaps", 993), ("submissions", 465))),
    "https://mail.a.test",
    "a.test".__eq__,
)
XML = re.compile(rb"<\?xml.*?</(?:clientConfig|Autodiscover|plist)>", re.DOTALL)
PROXIES = (ipaddress.ip_network("203.0.113.0/24"),)


def web(secure):
    challenges = Challenges()
    challenges.put("token", "token.thumb")
    pages, plain = (Pages("a.test".__eq__) for _ in range(2))
    plain.add(CHALLENGES, AcmeChallenge(challenges))
    for table in (pages, plain):
        table.add("/mail/config-v1.1.xml", Autoconfig(SETUP))
    pages.add("/.well-known/mta-sts.txt", Content(b"policy"), label="mta-sts")
    pages.add(autodiscover.POX, Autodiscover(SETUP))
    pages.add(autodiscover.JSON, AutodiscoverJson(SETUP))
    pages.add(apple_profile.PATH, AppleProfile(SETUP, lambda profile: profile))
    pages.add(setup_page.QR_PATH, QrCode(SETUP))
    for path in ("/", setup_page.PATH):
        pages.add(path, SetupPage(SETUP))
    door = Door(
        pages, plain=plain, secure=secure, base=SETUP.base, proxies=PROXIES, allowed=lambda client: True
    )
    return WebListener(
        door,
        reactor=Clock(),
        secure=secure,
        tls_context=None,
        max_connections=9,
        max_connections_per_host=9,
    )


class Browser(StringTransport):
    """Looks no further when it is cut off."""

    def unregisterProducer(self):
        self.producer = None

    def abortConnection(self):
        self.disconnecting = True


@harness(
    words=rb"""
        GET\_/ HEAD\_/ POST\_/ \_HTTP/1.1\r\n Host:\_a.test\r\n \r\n\r\n Host:\_mta-sts.a.test
        Content-Length:\_ Transfer-Encoding:\_chunked setup?address=x@a.test
        mail/config-v1.1.xml?emailaddress=
        autodiscover/autodiscover.xml autodiscover/autodiscover.json?Email=x@a.test&Protocol=AutodiscoverV1
        .well-known/mta-sts.txt .well-known/acme-challenge/token %01 %00 %C3%A9 %22
        X-Forwarded-For:\_192.0.2.1
        X-Forwarded-Proto:\_https <Autodiscover><Request><EMailAddress> setup/qr.svg?address= Expect:
    """,
    tests=60,
)
def web_requests(data):
    """Whatever a browser says, it is answered without an accident of ours (no 5xx, no traceback); the same
    octet by octet; whatever is XML can be read. The first octet chooses TLS."""
    secure = bool(data[:1] and data[0] & 1)
    data = data[1:]

    def run(pieces):
        listener = web(secure)
        transport = Browser(peerAddress=IPv4Address("TCP", "203.0.113.5", 1))
        connection = listener.buildProtocol(IPv4Address("TCP", "203.0.113.5", 40000))
        connection.makeConnection(transport)
        for piece in pieces:
            if transport.disconnecting:
                break
            connection.dataReceived(piece)
        said = transport.value()
        connection.connectionLost(None)
        assert not listener.protocols and not listener.reactor.getDelayedCalls()
        return re.sub(rb'(?m)^Date: .*$|Time="[^"]*"', b"", said)

    said = run([data])
    assert not re.search(rb"(?m)^HTTP/1.[01] 5(?!01)", said), said
    assert not said or said.startswith(b"HTTP/1."), said
    assert b"Traceback" not in said
    for document in XML.findall(said):
        ElementTree.fromstring(document)
    if len(re.findall(rb"HTTP/", data)) < MOST_AT_ONCE:
        assert run(octets(data)) == said, "one octet at a time gives something else"
