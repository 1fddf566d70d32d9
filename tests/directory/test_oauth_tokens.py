"""Tokens that an issuer on the loopback signs, or is asked about, over real TLS; and what strangers bring."""

import base64
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import parse_qs

from certificates import authority
from dictionary_resolver import DictionaryResolver
from policy_host import PolicyHost
from token_signer import Signer
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from twisted_mta.directory.oauth import introspection as introspection_module
from twisted_mta.directory.oauth.introspection import Introspection
from twisted_mta.directory.oauth.jwt import MAX_TOKEN
from twisted_mta.directory.oauth.key_set import MAX_OCTETS, OLD, SOON, STALE, KeyFile, KeySet, KeyUrl
from twisted_mta.directory.oauth.tokens import AskedTokens, SignedTokens, Tokens
from twisted_mta.https import HttpsClient
from twisted_mta.message.status import MailError

ISSUER = "https://id.test"
NOW = 1_700_000_000.0
ONE, TWO = Signer("ES256", "one"), Signer("EdDSA", "two")


async def account_of(login: str) -> str | None:
    return {"alice": "alice@a.test", "alice@a.test": "alice@a.test"}.get(login)


def key_set(*signers: Signer) -> bytes:
    return json.dumps({"keys": [signer.jwk for signer in signers]}).encode()


class TokenCase(TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.issuer = PolicyHost("id.test")
        self.issuer.media_type = "application/json"
        self.addCleanup(self.issuer.close)

    def https(self, **options) -> HttpsClient:
        return HttpsClient(
            reactor=reactor,
            resolver=DictionaryResolver(hosts={"id.test": ["127.0.0.1"]}),
            trust_root=authority().certificate,
            port=self.issuer.port,
            **options,
        )

    async def unanswered(self, tokens: Tokens, token: str) -> None:
        with self.assertRaises(MailError) as raised:
            await tokens.account(token, "imap")
        self.assertEqual(raised.exception.code, 454)


class SignedTokenTests(TokenCase):
    def tokens(self, source=None, **options) -> Tokens:
        keys = KeySet(
            source or KeyUrl(f"{ISSUER}/jwks.json", https=self.https(patience=60.0)),
            seconds=self.clock.seconds,
        )
        reader = SignedTokens(keys, issuer=ISSUER, audience=["mail"], now=self.clock.seconds)
        return Tokens(reader, account_of=account_of, **options)

    def token(self, signer: Signer = ONE, **claims) -> str:
        good = {"iss": ISSUER, "aud": "mail", "exp": NOW + 10 * STALE, "email": "alice@a.test"}
        return signer.token({**good, **claims})

    async def test_a_signed_token_names_its_account(self) -> None:
        self.issuer.body = key_set(ONE)
        tokens = self.tokens()
        for _ in range(3):
            self.assertEqual(await tokens.account(self.token(), "imap"), "alice@a.test")
        self.assertEqual(self.issuer.requests, [("GET", "/jwks.json", b"")])

    async def test_what_is_no_good_lets_nobody_in(self) -> None:
        self.issuer.body = key_set(ONE)
        tokens = self.tokens()
        for claims in (
            {"email": "bob@a.test"},
            {"email": "ALICE"},
            {"email": 7},
            {"email": ""},
            {"email_verified": False},
            {"email_verified": "false"},
            {"aud": "web"},
            {"iss": "https://evil.test"},
            {"exp": NOW - 60},
        ):
            self.assertIsNone(await tokens.account(self.token(**claims), "imap"), claims)
        for token in ("", "x", "x" * (MAX_TOKEN + 1), "a b", "\u00fc", "a\0b", self.token() + "\n"):
            self.assertIsNone(await tokens.account(token, "imap"))
        self.assertIsNone(await tokens.account(self.token(Signer("ES256", "one")), "imap"))
        self.assertEqual(await tokens.account(self.token(email_verified="true"), "imap"), "alice@a.test")

    async def test_another_claim_and_scopes(self) -> None:
        self.issuer.body = key_set(ONE)
        tokens = self.tokens(account_claim="login", scope="mail", scopes={"smtp": "send"})
        for scope, services in (
            ({"scope": "openid mail"}, {"imap", "pop3"}),
            ({"scope": "send"}, {"smtp"}),
            ({"scp": ["mail", "send"]}, {"imap", "pop3", "smtp"}),
            ({"scope": "mailbox"}, set()),
            ({}, set()),
            ({"scope": {"mail": 1}}, set()),
        ):
            token = self.token(login="alice", **scope)
            found = {service for service in ("imap", "pop3", "smtp") if await tokens.account(token, service)}
            self.assertEqual(found, services, scope)

    async def test_a_new_key_is_fetched_when_a_token_names_it(self) -> None:
        self.issuer.body = key_set(ONE)
        tokens = self.tokens()
        await tokens.account(self.token(), "imap")
        self.issuer.body = key_set(ONE, TWO)
        self.assertIsNone(await tokens.account(self.token(TWO), "imap"))  # too soon after the last time
        self.clock.advance(SOON)
        logins = [Deferred.fromCoroutine(tokens.account(self.token(TWO), "imap")) for _ in range(5)]
        self.assertEqual(await gatherResults(logins), ["alice@a.test"] * 5)
        self.assertEqual(len(self.issuer.requests), 2)

    async def test_strangers_cannot_make_us_ask_again_and_again(self) -> None:
        self.issuer.body = key_set(ONE)
        tokens = self.tokens()
        for number in range(20):
            self.assertIsNone(await tokens.account(self.token(Signer("EdDSA", f"key {number}")), "imap"))
        self.assertEqual(len(self.issuer.requests), 1)

    async def test_a_withdrawn_key_ends_and_an_issuer_that_is_away_does_not_lock_out(self) -> None:
        self.issuer.body = key_set(ONE)
        tokens = self.tokens()
        await tokens.account(self.token(), "imap")
        self.issuer.status = 500
        self.clock.advance(OLD)
        self.assertEqual(await tokens.account(self.token(), "imap"), "alice@a.test")
        while len(self.issuer.requests) < 2:  # it is fetched beside the login
            await tick()
        self.clock.advance(STALE)
        await self.unanswered(tokens, self.token())
        self.issuer.status, self.issuer.body = 200, key_set(TWO)
        self.clock.advance(SOON)
        self.assertEqual(await tokens.account(self.token(TWO), "imap"), "alice@a.test")
        self.assertIsNone(await tokens.account(self.token(), "imap"))

    async def test_an_issuer_that_talks_nonsense_is_a_temporary_trouble(self) -> None:
        for status, body in (
            (404, b""),
            (200, b"<html>"),
            (200, b'{"keys":[]}'),
            (200, b"[" * 100_000),
            (200, b" " * (MAX_OCTETS + 1)),
        ):
            self.issuer.status, self.issuer.body = status, body
            await self.unanswered(self.tokens(), self.token())

    async def test_an_issuer_that_says_nothing_is_given_up(self) -> None:
        self.issuer.silent = True
        keys = KeySet(
            KeyUrl(f"{ISSUER}/jwks.json", https=self.https(patience=0.1)), seconds=self.clock.seconds
        )
        reader = SignedTokens(keys, issuer=ISSUER, audience=["mail"], now=self.clock.seconds)
        await self.unanswered(Tokens(reader, account_of=account_of), self.token())

    async def test_an_issuer_with_a_wrong_certificate_is_not_believed(self) -> None:
        impostor = PolicyHost("evil.test", key_set(ONE))
        self.addCleanup(impostor.close)
        await self.issuer.close()
        self.issuer = impostor
        await self.unanswered(self.tokens(), self.token())
        self.assertEqual(impostor.requests, [])

    async def test_keys_from_a_file_that_is_replaced(self) -> None:
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        path = Path(directory.name) / "keys.json"
        tokens = self.tokens(KeyFile(str(path), reactor=reactor))
        await self.unanswered(tokens, self.token())
        path.write_bytes(key_set(ONE))
        self.clock.advance(SOON)
        self.assertEqual(await tokens.account(self.token(), "imap"), "alice@a.test")
        path.write_bytes(key_set(TWO))
        self.clock.advance(SOON)
        self.assertEqual(await tokens.account(self.token(TWO), "imap"), "alice@a.test")


def tick() -> Deferred[None]:
    passed: Deferred[None] = Deferred()
    reactor.callLater(0, passed.callback, None)
    return passed


class AskedTokenTests(TokenCase):
    def tokens(self, *, patience: float = 60.0, issuer: str = "", audience=(), **options) -> Tokens:
        asking = Introspection(
            f"{ISSUER}/introspect",
            https=self.https(patience=patience),
            client_id="mail server",
            client_secret="s:1%",
            now=self.clock.seconds,
            **options,
        )
        return Tokens(AskedTokens(asking, issuer=issuer, audience=audience), account_of=account_of)

    def says(self, **claims) -> None:
        self.issuer.body = json.dumps({"active": True, "email": "alice@a.test", **claims}).encode()

    async def test_the_issuer_is_asked_with_our_login(self) -> None:
        self.says()
        self.assertEqual(await self.tokens().account("opaque-1", "imap"), "alice@a.test")
        ((method, path, body),) = self.issuer.requests
        self.assertEqual((method, path), ("POST", "/introspect"))
        self.assertEqual(
            parse_qs(body.decode()), {"token": ["opaque-1"], "token_type_hint": ["access_token"]}
        )
        self.assertEqual(self.issuer.headers["content-type"], "application/x-www-form-urlencoded")
        login = base64.b64decode(self.issuer.headers["authorization"].removeprefix("Basic "))
        self.assertEqual(login, b"mail+server:s%3A1%25")

    async def test_a_good_answer_holds_for_a_while_and_not_beyond_the_end_of_the_token(self) -> None:
        self.says(exp=NOW + 90)
        tokens = self.tokens(lifetime=60.0)
        for seconds, questions in ((0, 1), (59, 1), (1, 2), (29, 2), (1, 3)):
            self.clock.advance(seconds)
            self.assertEqual(await tokens.account("opaque", "imap"), "alice@a.test")
            self.assertEqual(len(self.issuer.requests), questions)
        self.says(active=False)
        self.assertIsNone(await tokens.account("opaque", "imap"))
        await tokens.account("other", "imap")
        self.assertEqual(len(self.issuer.requests), 5)

    async def test_what_is_remembered_is_bounded(self) -> None:
        self.patch(introspection_module, "MOST_REMEMBERED", 1)
        self.says()
        tokens = self.tokens()
        for token in ("one", "two", "one"):
            await tokens.account(token, "imap")
        self.assertEqual(len(self.issuer.requests), 3)

    async def test_many_connections_with_one_token_are_one_question(self) -> None:
        self.says()
        tokens = self.tokens()
        logins = [Deferred.fromCoroutine(tokens.account("opaque", "imap")) for _ in range(5)]
        self.assertEqual(await gatherResults(logins), ["alice@a.test"] * 5)
        self.assertEqual(len(self.issuer.requests), 1)

    async def test_what_is_no_good_lets_nobody_in(self) -> None:
        tokens = self.tokens(issuer=ISSUER, audience=["mail"])
        for claims in (
            {"active": False},
            {"active": "true"},
            {"active": 1},
            {"aud": "web"},
            {"aud": None},
            {"aud": "mail", "iss": "https://evil.test"},
            {"aud": "mail", "email": "bob@a.test"},
            {"aud": "mail", "email": ["alice@a.test"]},
        ):
            self.says(**claims)
            self.assertIsNone(await tokens.account(f"opaque{id(claims)}", "imap"), claims)
        self.says(aud=["mail", "web"], iss=ISSUER)
        self.assertEqual(await tokens.account("good", "imap"), "alice@a.test")

    async def test_an_issuer_that_is_no_use_is_a_temporary_trouble_for_all_who_wait(self) -> None:
        for status, body in ((401, b"{}"), (200, b"<html>"), (200, b"[]"), (200, b"[" * 50_000)):
            self.issuer.status, self.issuer.body = status, body
            tokens = self.tokens()
            await gatherResults([Deferred.fromCoroutine(self.unanswered(tokens, "opaque")) for _ in range(3)])
        self.issuer.silent = True
        await self.unanswered(self.tokens(patience=0.1), "opaque")

    async def test_only_so_many_questions_at_once(self) -> None:
        self.patch(introspection_module, "MOST_ASKED", 1)
        self.says()
        tokens = self.tokens()
        first = Deferred.fromCoroutine(tokens.account("one", "imap"))
        await self.unanswered(tokens, "two")
        self.assertEqual(await first, "alice@a.test")
