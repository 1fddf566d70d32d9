"""Our client with Postfix and Dovecot: every extension that they offer, and content to the last octet."""

import re

from one_conversation import ALICE, Conversation
from real_peers import RealPeers, wait_for
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from twisted_mta.message.address import Address
from twisted_mta.message.envelope import DeliverBy, EnvelopeRecipient, MailParameters
from twisted_mta.protocol.smtp.client_events import Stage
from twisted_mta.transfer.mta.relay.verdict import Trouble
from twisted_mta.transfer.mta.route import Credentials, Host
from twisted_mta.transfer.mta.tls.demand import TlsLevel

HEADER = (
    b"From: alice@a.test\r\nDate: Mon, 23 Nov 2026 04:49:44 +0000\r\nMessage-ID: <1@a.test>\r\n"
    b"MIME-Version: 1.0\r\n"
)
CONTENTS = [
    HEADER + b"\r\n.\r\n..\r\n.x\r\n\r\n.\r\n",
    HEADER + b"Content-Type: text/plain; charset=utf-8\r\n\r\n" + "Grüße\r\n".encode() * 3,
    HEADER + b"\r\n" + b"".join(b"%07d.\r\n.\r\n" % n for n in range(20_000)),
]


def body(stored):
    """As it was sent: without the fields in front that the receiver added."""
    return stored[stored.index(HEADER.replace(b"\r\n", b"\n")) :].replace(b"\n", b"\r\n")


class TestRealPeers(TestCase):
    @classmethod
    def setUpClass(cls):
        cls.peers = RealPeers()

    @classmethod
    def tearDownClass(cls):
        cls.peers.stop()

    async def talk(self, host, **settings):
        conversation = Conversation(host)
        self.addCleanup(conversation.bye)
        return await conversation.open(**settings)

    def postfix(self, **settings):
        return self.talk(Host("mx.b.test", "127.0.0.1", self.peers.port), **settings)

    async def arrived(self, peer, user, count):
        await deferToThread(wait_for, lambda: len(self.peers.mail(peer, user)) >= count)
        return self.peers.mail(peer, user)

    async def test_postfix(self):
        talk = await self.postfix(level=TlsLevel.VERIFIED)
        assert {"CHUNKING", "PIPELINING", "DSN", "SMTPUTF8", "8BITMIME"} <= set(
            talk.session.engine.extensions
        )
        sent = []
        for content in CONTENTS:
            for cut in (None, 997, 65536):
                (verdict,) = await talk.send(content, "bob@b.test", cut=cut)
                assert verdict.accepted, verdict
                sent.append(content)
        assert talk.session.messages == 9
        stored = await self.arrived("postfix", "bob", 9)
        assert sorted(map(body, stored)) == sorted(sent)

    async def test_postfix_without_chunking(self):
        """The same behind DATA: dots at every border of pieces."""
        talk = await self.postfix()
        del talk.session.engine.extensions["CHUNKING"]
        for cut in (1, 3, 1000):
            (verdict,) = await talk.send(CONTENTS[0], "carol@b.test", cut=cut)
            assert verdict.accepted, verdict
        stored = await self.arrived("postfix", "carol", 3)
        assert {body(one) for one in stored} == {CONTENTS[0]}

    async def test_postfix_takes_every_parameter(self):
        talk = await self.postfix()
        parameters = MailParameters(
            ret="HDRS", envid="an id+=x", deliver_by=DeliverBy(9e9, notify=True), priority=3, hold_until=9e9
        )
        bob = EnvelopeRecipient(
            Address("dave", "b.test"), frozenset({"FAILURE", "DELAY"}), "rfc822;Bob=x@b.test"
        )
        carol = EnvelopeRecipient(Address("erin", "b.test"), orcpt="utf-8;jürgen@b.test")
        verdicts = await talk.send(CONTENTS[0], bob, carol, parameters=parameters)
        assert all(verdict.accepted for verdict in verdicts), verdicts

    async def test_postfix_and_smtputf8(self):
        talk = await self.postfix()
        content = "Subject: Grüße\r\n".encode() + HEADER + b"\r\nhello\r\n"
        sender = Address("jürgen", "a.test")
        (verdict,) = await talk.send(content, "dave@b.test", sender=sender, utf8=True)
        assert verdict.accepted, verdict

    async def test_recipients_that_postfix_refuses(self):
        talk = await self.postfix()
        verdicts = await talk.send(CONTENTS[0], "nobody@b.test", "dave@b.test", "x@elsewhere.test")
        assert [(verdict.code, verdict.status) for verdict in verdicts] == [
            (550, "5.1.1"),
            (250, "2.0.0"),
            (554, "5.7.1"),
        ]

    async def test_logins_at_postfix(self):
        """Dovecot checks the password; the strongest mechanism that is left is used."""
        for taken, used in (
            ("", "SCRAM-SHA-256"),
            ("SCRAM-SHA-256", "SCRAM-SHA-1"),
            ("SCRAM", "PLAIN"),
            ("SCRAM|PLAIN", "LOGIN"),
        ):
            talk = Conversation(Host("mx.b.test", "127.0.0.1", self.peers.port))
            self.addCleanup(talk.bye)
            names = self._offer_less(talk, taken)
            await talk.open(level=TlsLevel.VERIFIED, credentials=Credentials("bob@b.test", "secret"))
            assert names == [used]
            (verdict,) = await talk.send(CONTENTS[0], "dave@b.test")
            assert verdict.accepted

    def _offer_less(self, talk, taken):
        """Hide mechanisms from our client; the list where it will note what it used."""
        engine, used = talk.session.engine, []
        authenticate = engine.authenticate

        def noting(name, initial):
            used.append(name)
            authenticate(name, initial)

        engine.authenticate = noting
        kind = type(engine)

        class Less(kind):
            @property
            def mechanisms(self):
                offered = super().mechanisms
                return [name for name in offered if not (taken and re.match(taken, name))]

        engine.__class__ = Less
        return used

    async def test_a_wrong_password_at_postfix(self):
        for taken in ("", "SCRAM"):
            talk = Conversation(Host("mx.b.test", "127.0.0.1", self.peers.port))
            self.addCleanup(talk.bye)
            self._offer_less(talk, taken)
            with self.assertRaises(Trouble) as refused:
                await talk.open(level=TlsLevel.VERIFIED, credentials=Credentials("bob@b.test", "wrong"))
            verdict = refused.exception.verdict
            assert (verdict.stage, verdict.status, verdict.permanent) == (Stage.AUTH, "4.7.8", False), verdict

    # LMTP

    async def test_dovecot_lmtp(self):
        for number, host in enumerate(
            (
                Host("localhost", "", 0, lmtp=True, path=self.peers.lmtp_path),
                Host("localhost", "127.0.0.1", self.peers.lmtp_port, lmtp=True),
            )
        ):
            talk = await self.talk(host)
            assert "CHUNKING" in talk.session.engine.extensions
            users = [f"u{number}", f"v{number}"]
            for content in CONTENTS:
                verdicts = await talk.send(content, *(f"{user}@b.test" for user in users), cut=5000)
                assert [verdict.accepted for verdict in verdicts] == [True, True], verdicts
                assert [verdict.stage for verdict in verdicts] == [Stage.FINAL] * 2
                assert users[0] in verdicts[0].text and users[1] in verdicts[1].text
            for user in users:
                assert sorted(map(body, await self.arrived("dovecot", user, 3))) == sorted(CONTENTS)

    async def test_dovecot_lmtp_without_chunking(self):
        talk = await self.talk(Host("localhost", "", 0, lmtp=True, path=self.peers.lmtp_path))
        del talk.session.engine.extensions["CHUNKING"]
        verdicts = await talk.send(CONTENTS[0], "w@b.test", "x@b.test", cut=3, sender=ALICE)
        assert [verdict.accepted for verdict in verdicts] == [True, True], verdicts
        (stored,) = await self.arrived("dovecot", "w", 1)
        assert body(stored) == CONTENTS[0]
