"""What authorities and name servers say, in words for the administrator; keys, signatures."""

import base64
import json

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from twisted_mta.certificates.acme.client import LONGEST_POLL, MOST_POLLS, Account, AcmeClient, Challenge
from twisted_mta.certificates.acme.jws import AccountKey
from twisted_mta.certificates.acme.problem import AcmeError, Problem
from twisted_mta.certificates.dns_update import TsigKey
from twisted_mta.certificates.pair import new_key
from twisted_mta.https import Answer

ERROR = "urn:ietf:params:acme:error:"
BASE = "https://acme.test"


@pytest.mark.parametrize(
    ("kind", "challenge", "expected"),
    [
        ("caa", "http-01", 'add mx.a.test. CAA 0 issue "letsencrypt.org" to the zone'),
        ("rateLimited", "http-01", "nothing is to be done but to wait"),
        ("connection", "http-01", "port 80 must be open"),
        ("connection", "tls-alpn-01", "port 443 must be open"),
        ("dns", "dns-01", "answered by the name servers that take our updates"),
        ("unauthorized", "http-01", "another web server answers for mx.a.test at port 80"),
        ("unauthorized", "dns-01", "_acme-challenge.mx.a.test is not (yet)"),
        ("rejectedIdentifier", "http-01", "take the name out of tls.acme.domains"),
        ("userActionRequired", "http-01", "its terms have changed"),
        ("invalidContact", "http-01", "correct tls.acme.email"),
        ("somethingNew", "http-01", "the authority says: their words"),
    ],
)
def test_what_is_to_be_done(kind: str, challenge: str, expected: str) -> None:
    problem = Problem({"type": ERROR + kind, "detail": "their words"}, caa=["letsencrypt.org"])
    assert problem.kind == kind
    sentence = problem.sentence("mx.a.test", challenge)
    assert expected in sentence
    assert "the authority says: their words" in sentence


def test_of_a_compound_the_first_inner_one_counts() -> None:
    inner = {"type": f"{ERROR}caa", "detail": "CAA forbids"}
    problem = Problem({"type": f"{ERROR}compound", "detail": "several", "subproblems": [inner]})
    assert problem.kind == "caa"
    assert "CAA forbids" in problem.sentence("mx.a.test", "http-01")


@pytest.mark.parametrize("document", [None, [], "x", {}, {"type": 3, "detail": {}, "subproblems": [3]}])
def test_whatever_it_sends_becomes_a_sentence(document: object) -> None:
    assert Problem(document).sentence("mx.a.test", "http-01").startswith("the authority says: ")


def test_its_words_are_bounded_and_cannot_play_with_the_terminal() -> None:
    problem = Problem({"type": f"{ERROR}dns", "detail": "\x1b[2J\n{name}" + "x" * 10_000})
    sentence = problem.sentence("mx.a.test", "http-01")
    assert len(sentence) < 600
    assert sentence.isprintable()
    nasty = "\x1b[2J\n" + "x" * 10_000
    for problem in (Problem({"type": ERROR + nasty}), Problem({"type": f"{ERROR}caa"}, caa=[nasty])):
        sentence = problem.sentence("mx.a.test", "http-01")
        assert len(sentence) < 600
        assert sentence.isprintable() and problem.kind.isprintable()


class Scripted:
    """An authority that answers with what stands in `pages`, by the last word of a URL."""

    def __init__(self, **pages: object) -> None:
        self.pages = {
            "dir": {key: f"{BASE}/{key}" for key in ("newNonce", "newAccount", "newOrder")},
            **pages,
        }
        self.asked = 0

    async def ask(self, method: str, url: str, *_: object, limit: int) -> Answer:
        self.asked += 1
        page = self.pages.get(url.rpartition("/")[2])
        fields = {"replay-nonce": "n", "location": f"{BASE}/order"}
        return Answer(404 if page is None else 200, fields, json.dumps(page).encode())


@pytest.mark.parametrize(
    "pages",
    [
        {"newOrder": {"authorizations": 5}},
        {"newOrder": {"authorizations": [f"{BASE}/one"]}, "one": {"challenges": 5}},
        {
            "newOrder": {"authorizations": [f"{BASE}/one"]},
            "one": {"challenges": [{"type": "\x1b[2J\n" * 10_000}]},
        },
        {"newOrder": {"authorizations": [f"{BASE}/one"] * 10_000}, "one": {"status": "valid"}},
        {"newOrder": {"status": "pending"}, "order": {"status": "invalid", "error": 5, "challenges": 5}},
        {"newOrder": {"status": "pending"}, "order": {"status": "processing"}},
        {"newOrder": {"status": ["valid"], "finalize": {}, "certificate": 7}},
    ],
)
def test_whatever_it_answers_becomes_an_error_in_bounded_time(pages: dict[str, object]) -> None:
    https, clock = Scripted(**pages), Clock()
    client = AcmeClient(f"{BASE}/dir", https=https, reactor=clock)  # type: ignore[arg-type]

    async def ready(challenge: Challenge) -> None:
        pass

    account = Account(AccountKey.new(), f"{BASE}/account")
    ended: list[object] = []
    order = Deferred.fromCoroutine(
        client.certificate(account, "mx.a.test", new_key("ec"), "http-01", solve=ready, undo=ready)
    )
    order.addErrback(lambda failure: ended.append(failure.value))
    for _ in range(MOST_POLLS):
        clock.advance(LONGEST_POLL)
    (error,) = ended
    assert isinstance(error, AcmeError) and str(error).isprintable() and len(str(error)) < 1100
    assert https.asked < 30


def test_how_long_it_wants_to_be_left_alone() -> None:
    class Now:
        def seconds(self) -> float:
            return 1_700_000_000.0

    client = AcmeClient("https://acme.test", https=None, reactor=Now())  # type: ignore[arg-type]

    def told(text: str) -> float:
        return client._retry_after(Answer(429, {"retry-after": text}, b""))

    assert told("120") == 120
    assert told("Tue, 14 Nov 2023 22:15:20 GMT") == 120
    assert told("Tue, 14 Nov 2022 22:15:20 GMT") == 0
    assert told(f"Tue, 14 Nov {'9' * 30} 22:15:20 GMT") == 0
    assert [told(text) for text in ("", "soon", "-5", "٣")] == [0, 0, 0, 0]
    assert told("999999999") == 7 * 86400


def test_a_signed_request() -> None:
    key = AccountKey.parse(AccountKey.new().pem())
    jws = json.loads(key.sign("https://acme.test/new", "abc", {"a": 1}))
    protected, payload = jws["protected"], jws["payload"]
    header = json.loads(decoded(protected))
    assert header == {"alg": "ES256", "nonce": "abc", "url": "https://acme.test/new", "jwk": key.jwk}
    assert json.loads(decoded(payload)) == {"a": 1}
    x, y = (int.from_bytes(decoded(key.jwk[each]), "big") for each in "xy")
    signature = decoded(jws["signature"])
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key().verify(
        encode_dss_signature(r, s), f"{protected}.{payload}".encode(), ec.ECDSA(hashes.SHA256())
    )
    again = json.loads(key.sign("https://acme.test/x", "abc", None, account="https://acme.test/1"))
    assert again["payload"] == ""
    assert json.loads(decoded(again["protected"]))["kid"] == "https://acme.test/1"


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


SECRET = base64.b64encode(b"0123456789").decode()


@pytest.mark.parametrize(
    "text",
    [
        f'key "updates" {{\n\talgorithm hmac-sha256;\n\tsecret "{SECRET}";\n}};\n',
        f"# made by hand\nkey updates {{ secret {SECRET}; algorithm hmac-sha256; }};",
        f"hmac-sha256:updates:{SECRET}\n",
        f"updates:{SECRET}",
    ],
)
def test_keys_of_name_servers(text: str) -> None:
    assert TsigKey.parse(text) == TsigKey("updates", "hmac-sha256", b"0123456789")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "no TSIG key"),
        ("secret", "no TSIG key"),
        (f"hmac-md5:updates:{SECRET}", "the algorithm hmac-md5 is not one of hmac-sha256"),
        ("hmac-sha256:updates:AAA", "not base64"),
    ],
)
def test_what_is_no_key(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        TsigKey.parse(text)
