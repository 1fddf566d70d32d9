"""The client's side of ACME (RFC 8555): an account, an order, its challenges, a certificate.

One order is for one name. Everything that the authority says is bounded: in size, in time and in how often it
is asked. Renewal information (RFC 9773) is in `renewal_information`.

Left out on purpose: accounts made elsewhere (external account binding), key roll-over and deactivation of an
account, revocation; pre-authorization.
"""

from __future__ import annotations

import email.utils
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID
from twisted.internet.task import deferLater

from twisted_mta.certificates.acme.jws import AccountKey, base64url
from twisted_mta.certificates.acme.problem import AcmeError, Problem
from twisted_mta.certificates.pair import PrivateKey
from twisted_mta.https import Answer, FetchError, HttpsClient

POLL = 0.25  # seconds to the second question, then twice as long, unless the authority wants another time
LONGEST_POLL = 30.0
MOST_POLLS = 18  # six minutes
NONCE_ATTEMPTS = 10  # an authority may refuse a good nonce (RFC 8555 §6.5)
MOST_AUTHORIZATIONS = 4  # of an order, which is for one name
LARGEST = 256 * 1024  # octets of an answer
LONGEST_REST = 7 * 86400.0  # seconds; whoever wants to be left alone for longer is asked again then

_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,500}")


@dataclass
class Account:
    """`url`: "" until the authority has given it one. `contact`: what it was told then."""

    key: AccountKey
    url: str = ""
    contact: str = ""


@dataclass(frozen=True)
class Challenge:
    """One way to show that `name` is ours: by `key_authorization`, under `token`."""

    kind: str
    name: str
    token: str
    key_authorization: str


@dataclass
class Directory:
    """Where the authority does what (RFC 8555 §7.1.1); `caa`: its names in CAA records."""

    new_nonce: str
    new_account: str
    new_order: str
    renewal_info: str = ""
    terms: str = ""
    caa: list[str] = field(default_factory=list)


Solve = Callable[[Challenge], Awaitable[None]]


class AcmeClient:
    """Of one authority, by the URL of its directory."""

    def __init__(self, url: str, *, https: HttpsClient, reactor: Any) -> None:
        self._url = url
        self._https = https
        self._reactor = reactor
        self._nonces: list[str] = []
        self._known: Directory | None = None

    async def directory(self) -> Directory:
        """Asked for once. Raises AcmeError."""
        if self._known is None:
            answer = await self._exchange("GET", self._url)
            if answer.status >= 500:
                raise AcmeError(f"{self._url} answers with HTTP status {answer.status}; tried again later")
            found = _object(answer)
            meta = found.get("meta")
            meta = meta if isinstance(meta, dict) else {}
            try:
                self._known = Directory(
                    found["newNonce"],
                    found["newAccount"],
                    found["newOrder"],
                    str(found.get("renewalInfo", "")),
                    str(meta.get("termsOfService", "")),
                    [str(name) for name in meta.get("caaIdentities") or ()],
                )
            except (KeyError, TypeError) as error:
                raise AcmeError(
                    f"{self._url} is not the directory of an ACME server; correct tls.acme.directory"
                ) from error
        return self._known

    async def register(self, account: Account, contact: str) -> None:
        """Give it its URL, which for a key that is known already is that of before (RFC 8555 §7.3), or tell
        the authority of its new contact. By this the terms are agreed to. Raises AcmeError."""
        told: dict[str, Any] = {"contact": [f"mailto:{contact}"] if contact else []}
        if account.url:
            await self._signed(account, account.url, told, "the account")
        else:
            where = (await self.directory()).new_account
            answer = await self._signed(account, where, {**told, "termsOfServiceAgreed": True}, "the account")
            if not answer.fields.get("location"):
                raise AcmeError("the authority gave our account no URL; tried again later")
            account.url = answer.fields["location"]
        account.contact = contact

    async def certificate(
        self, account: Account, name: str, key: PrivateKey, challenge: str, *, solve: Solve, undo: Solve
    ) -> bytes:
        """A chain in PEM for `name` and `key`. `solve` puts what the challenge wants where the authority
        looks, `undo` takes it away, whatever happened. Raises AcmeError."""
        directory = await self.directory()
        wanted = {"identifiers": [{"type": "dns", "value": name}]}
        answer = await self._signed(account, directory.new_order, wanted, name, challenge)
        place, order = answer.fields.get("location", ""), _object(answer)
        for url in _listed(order, "authorizations")[:MOST_AUTHORIZATIONS]:
            await self._authorize(account, str(url), name, challenge, solve=solve, undo=undo)
        if order.get("status") in ("pending", "processing"):
            order = await self._settled(account, place, name, challenge, ("ready", "valid"))
        if order.get("status") != "valid":
            finalize = str(order.get("finalize", ""))
            await self._signed(account, finalize, {"csr": _request(name, key)}, name, challenge)
            order = await self._settled(account, place, name, challenge, ("valid",))
        answer = await self._signed(account, str(order.get("certificate", "")), None, name, challenge)
        return answer.content

    async def renewal_information(self, identifier: str) -> tuple[str, str, float] | None:
        """When the authority wants the certificate of this `identifier` (RFC 9773 §4.1) renewed: begin and
        end, as RFC 3339 has them, and in how many seconds to ask again. None when it does not say."""
        where = (await self.directory()).renewal_info
        if not where:
            return None
        answer = await self._exchange("GET", f"{where.rstrip('/')}/{identifier}")
        window = _object(answer).get("suggestedWindow")
        if answer.status != 200 or not isinstance(window, dict):
            return None
        return str(window.get("start", "")), str(window.get("end", "")), self._retry_after(answer)

    # Pieces of an order

    async def _authorize(
        self, account: Account, url: str, name: str, challenge: str, *, solve: Solve, undo: Solve
    ) -> None:
        """RFC 8555 §7.5."""
        found = _object(await self._signed(account, url, None, name, challenge))
        if found.get("status") == "valid":  # of an earlier order
            return
        offered = [each for each in _listed(found, "challenges") if isinstance(each, dict)]
        chosen = next((each for each in offered if each.get("type") == challenge), None)
        if chosen is None:
            kinds = ", ".join(str(each.get("type")) for each in offered) or "nothing"
            raise AcmeError(
                f"the authority does not offer {challenge} for {name}, but {kinds}; set tls.acme.challenge"
            )
        token = str(chosen.get("token", ""))
        if not _TOKEN.fullmatch(token):  # RFC 8555 §8.3
            raise AcmeError(f"the authority gave no token for {name} that is one; tried again later")
        host = name.removeprefix("*.")
        task = Challenge(challenge, host, token, account.key.key_authorization(token))
        try:
            await solve(task)
            await self._signed(account, str(chosen.get("url", "")), {}, name, challenge)
            await self._settled(account, url, name, challenge, ("valid",))
        finally:
            await undo(task)

    async def _settled(
        self, account: Account, url: str, name: str, challenge: str, wanted: tuple[str, ...]
    ) -> dict[str, Any]:
        """The order or authorization, once it has a status that is wanted. Raises AcmeError."""
        for already in range(MOST_POLLS):
            answer = await self._signed(account, url, None, name, challenge)
            found = _object(answer)
            status = found.get("status")
            if status in wanted:
                return found
            if status not in ("pending", "processing", "ready"):
                raise await self._refusal(_error_of(found), answer, name, challenge)
            wait = self._retry_after(answer) or POLL * 2**already
            await deferLater(self._reactor, min(wait, LONGEST_POLL), lambda: None)
        raise AcmeError(f"the authority has not made up its mind on {name} in time; tried again later")

    # What every request is made of

    async def _signed(
        self, account: Account, url: str, payload: Any, name: str, challenge: str = "http-01"
    ) -> Answer:
        """The answer to a signed request, when it is a good one. Raises AcmeError."""
        for attempt in range(NONCE_ATTEMPTS):
            nonce = self._nonces.pop() if self._nonces else await self._nonce()
            body = account.key.sign(url, nonce, payload, account=account.url)
            answer = await self._exchange("POST", url, body)
            if answer.status < 300:
                return answer
            document = _object(answer)
            if Problem(document).kind != "badNonce" or attempt == NONCE_ATTEMPTS - 1:
                break
        raise await self._refusal(document, answer, name, challenge)

    async def _nonce(self) -> str:
        await self._exchange("GET", (await self.directory()).new_nonce)
        if not self._nonces:
            raise AcmeError("the authority gave no nonce; tried again later")
        return self._nonces.pop()

    async def _exchange(self, method: str, url: str, body: bytes = b"") -> Answer:
        media_type = "application/jose+json" if body else ""
        try:
            answer = await self._https.ask(method, url, body, media_type, limit=LARGEST)
        except FetchError as error:
            raise AcmeError(
                f"the authority cannot be reached: {error}; see that this server may open connections to "
                "other web servers and that its clock is right"
            ) from error
        if nonce := answer.fields.get("replay-nonce"):
            self._nonces = [*self._nonces[-8:], nonce]
        return answer

    async def _refusal(self, document: Any, answer: Answer, name: str, challenge: str) -> AcmeError:
        problem = Problem(document, caa=(await self.directory()).caa)
        sentence = problem.sentence(name, challenge)
        if not problem.kind and answer.status >= 300:
            sentence = f"the authority answered with HTTP status {answer.status}; tried again later"
        return AcmeError(sentence, kind=problem.kind, retry_after=self._retry_after(answer))

    def _retry_after(self, answer: Answer) -> float:
        """Seconds, 0 when it does not say (RFC 9110 §10.2.3)."""
        text = answer.fields.get("retry-after", "")
        if text.isascii() and text.isdigit() and len(text) < 10:
            return min(float(text), LONGEST_REST)
        try:
            then = email.utils.parsedate_to_datetime(text).timestamp()
        except (ValueError, OverflowError):
            return 0.0
        left: float = then - self._reactor.seconds()
        return min(max(left, 0.0), LONGEST_REST)


def _object(answer: Answer) -> dict[str, Any]:
    """The JSON object of the answer; an empty one when that is not what it is."""
    try:
        found = json.loads(answer.content)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _listed(found: dict[str, Any], key: str) -> list[Any]:
    """An empty list when that is not what it is."""
    value = found.get(key)
    return value if isinstance(value, list) else []


def _error_of(found: dict[str, Any]) -> Any:
    """What went wrong with an order, or with an authorization by its challenge (RFC 8555 §7.1.6)."""
    for challenge in _listed(found, "challenges"):
        if isinstance(challenge, dict) and challenge.get("error"):
            return challenge["error"]
    return found.get("error")


def _request(name: str, key: PrivateKey) -> str:
    """The certificate that is asked for (RFC 8555 §7.4): for this name alone, as common name too where it
    fits."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)] if len(name) <= 64 else [])
    signed = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(subject)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return base64url(signed.public_bytes(serialization.Encoding.DER))
