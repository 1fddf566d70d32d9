"""The relay at servers that offer little: conversion to 7 bits, bounces, logins that fail in new ways."""

import tempfile
from pathlib import Path

from one_conversation import Conversation
from relay_town import RelayTestCase
from scripted_server import DROP, HANG, Script

from twisted_mta.message.address import Address
from twisted_mta.message.content import Content
from twisted_mta.message.envelope import MailParameters
from twisted_mta.message.outcome import Action
from twisted_mta.transfer.mta.relay.verdict import Trouble
from twisted_mta.transfer.mta.route import Credentials, Host

TEXT = b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
EIGHT_BIT = TEXT + b"\r\n" + "Grüße aus Köln, wo es heute wieder regnet\r\n".encode()
SEVEN_BIT = TEXT + (
    b"Content-Transfer-Encoding: quoted-printable\r\n\r\n"
    b"Gr=C3=BC=C3=9Fe aus K=C3=B6ln, wo es heute wieder regnet\r\n"
)
SIGNED = (
    b"MIME-Version: 1.0\r\nContent-Type: multipart/signed; boundary=b\r\n\r\n"
    b"--b\r\nContent-Type: text/plain\r\n\r\n\xc3\xa4\r\n--b\r\n\r\nsignature\r\n--b--\r\n"
)


class TestExtensions(RelayTestCase):
    async def between(self, *scripts):
        await self.serve(*scripts)
        await self.start()
        return self.servers

    async def test_eight_bit_content_is_converted(self):
        (server,) = await self.between(Script(extensions=("SIZE 5000000",)))
        (outcome,) = await self.send(content=EIGHT_BIT)
        assert outcome.action is Action.RELAYED and server.messages[0].data == SEVEN_BIT
        assert f"MAIL FROM:<alice@a.test> SIZE={len(SEVEN_BIT)}" in server.dialogs[0]

    async def test_a_large_message_is_converted_by_way_of_a_file(self):
        (server,) = await self.between(Script(extensions=()))
        before = set(Path(tempfile.gettempdir()).glob("mta-recoded-*"))
        text = EIGHT_BIT.partition(b"\r\n\r\n")[2]
        with tempfile.NamedTemporaryFile() as file:
            file.write(TEXT + b"\r\n" + text * 20_000)
            file.flush()
            (outcome,) = await self.send(content=Content(b"X-Trace: 1\r\n", path=Path(file.name)))
            file.seek(0)
            file.truncate()
            file.write(SEVEN_BIT * 5_000)
            file.flush()
            (second,) = await self.send(content=Content(b"", path=Path(file.name)))
            assert Path(file.name).exists()
        assert second.action is Action.RELAYED and server.messages[1].data == SEVEN_BIT * 5_000
        assert outcome.action is Action.RELAYED
        data = server.messages[0].data
        assert data.startswith(b"X-Trace: 1\r\n" + SEVEN_BIT) and data.count(b"K=C3=B6ln") == 20_000
        assert set(Path(tempfile.gettempdir()).glob("mta-recoded-*")) <= before

    async def test_what_is_signed_comes_back(self):
        (server,) = await self.between(Script(extensions=()))
        (outcome,) = await self.send(content=SIGNED)
        assert (outcome.action, outcome.status) == (Action.FAILED, "5.6.2")
        assert server.messages == [] and "signed" in outcome.text

    async def test_the_second_host_may_know_more(self):
        first, second = await self.between(Script(extensions=()), Script())
        (outcome,) = await self.send(content=SIGNED)
        assert outcome.action is Action.RELAYED and second.messages[0].data == SIGNED
        assert first.messages == []

    async def test_internationalised_mail_for_a_server_that_does_not_know_it(self):
        header = "Subject: Grüße\r\n\r\nhello\r\n".encode()
        utf8 = MailParameters(smtputf8=True, body="8BITMIME")
        (server,) = await self.between(Script())
        (outcome,) = await self.send(content=header, parameters=utf8)
        assert (outcome.action, outcome.status) == (Action.FAILED, "5.6.7")
        (outcome,) = await self.send(Address("jürgen", "b.test"), parameters=utf8)
        assert (outcome.action, outcome.status) == (Action.FAILED, "5.6.7")
        (outcome,) = await self.send(parameters=utf8)  # nothing in it needs the extension
        assert outcome.action is Action.RELAYED and len(server.messages) == 1

    async def test_an_address_that_needs_smtputf8_does_not_stand_in_the_way_of_others(self):
        (server,) = await self.between(Script())
        utf8 = MailParameters(smtputf8=True)
        outcomes = await self.send(Address("jürgen", "b.test"), "bob@b.test", parameters=utf8)
        assert [outcome.action for outcome in outcomes] == [Action.FAILED, Action.RELAYED]
        assert outcomes[0].status == "5.6.7" and len(server.messages) == 1

    async def test_internationalised_mail(self):
        (server,) = await self.between(Script(extensions=("8BITMIME", "SMTPUTF8")))
        header = "Subject: Grüße\r\n\r\nhello\r\n".encode()
        utf8 = MailParameters(smtputf8=True, body="8BITMIME")
        (outcome,) = await self.send(content=header, parameters=utf8)
        assert outcome.action is Action.RELAYED and server.messages[0].data == header
        assert "MAIL FROM:<alice@a.test> BODY=8BITMIME SMTPUTF8" in server.dialogs[0]

    # Chunks

    async def test_content_in_chunks(self):
        """From a file in many, from memory in one; dots and bare line ends are nothing special."""
        bodies = [b"", b".\r\n", b"x\ny\r.\r\n", b"\r\n.\r\n" * 50_000, b"BDAT 0 LAST\r\n" * 10_000]
        for offer in (("CHUNKING",), ("CHUNKING", "PIPELINING")):
            (server,) = await self.between(Script(extensions=(*offer, "8BITMIME")))
            for body in bodies:
                with tempfile.NamedTemporaryFile() as file:
                    file.write(body)
                    file.flush()
                    for content in (Content(b"", body), Content(b"X: y\r\n", path=Path(file.name))):
                        (outcome,) = await self.send(content=content)
                        assert outcome.action is Action.RELAYED, outcome
                        expected = b"".join(content.chunks()).replace(b"x\ny\r.", b"x\r\ny\r\n.")
                        assert server.messages[-1].data == expected
            assert len(server.dialogs) == 1 and len(server.messages) == 2 * len(bodies)
            await self.relay.stop()

    async def test_faults_at_every_stage_of_chunks(self):
        """The other host gets the message, unless this one may have taken it, or refused it for good."""
        for offer in (("CHUNKING",), ("CHUNKING", "PIPELINING")):
            for stage in ("MAIL", "RCPT", "BDAT", "FINAL"):
                for fault in (
                    DROP,
                    HANG,
                    "451 later",
                    "551 no",
                    "421 bye",
                    "354 go",
                    "nonsense",
                    "451-x\n452 y",
                ):
                    await self.fault(offer, stage, fault)

    async def fault(self, offer, stage, fault):
        offer = (*offer, "8BITMIME")
        scripts = Script({stage: fault}, offer), Script(extensions=offer)
        first, second = await self.serve(*scripts)
        await self.start()
        body = b"line\r\n" * 30_000
        with tempfile.NamedTemporaryFile() as file:
            file.write(body)
            file.flush()
            (outcome,) = await self.send(content=Content(b"", path=Path(file.name)))
        name = f"{offer} {stage} {fault}: {outcome}"
        assert first.messages == [], name
        if fault == "551 no":
            assert outcome.action is Action.FAILED and second.messages == [], name
        elif outcome.action is Action.DELAYED:
            # With pipelining all chunks may have been on their way when the first one was answered.
            assert stage == "FINAL" or (stage == "BDAT" and "PIPELINING" in offer), name
            assert second.messages == [], name
        else:
            assert outcome.action is Action.RELAYED, name
            assert [message.data for message in second.messages] == [body], name
        await self.relay.stop()

    # Logins

    async def log_in(self, script, credentials):
        """What comes of it, and the server."""
        (server,) = await self.serve(script)
        talk = Conversation(Host("mx.b.test", "127.0.0.1", server.port))
        self.addCleanup(talk.bye)
        try:
            await talk.open(credentials=credentials)
        except Trouble as end:
            assert not end.verdict.permanent
            return end.verdict.text, server
        return "", server

    async def test_a_server_that_does_not_prove_itself(self):
        """Success that comes before the server's signature is worth nothing (RFC 5802 §3)."""
        script = Script({"AUTH": "235 welcome"}, ("AUTH SCRAM-SHA-256 PLAIN",))
        text, server = await self.log_in(script, Credentials("me", "secret"))
        assert text == "The server has not shown that it knows the password"
        assert server.dialogs[0][1].startswith("AUTH SCRAM-SHA-256 ")

    async def test_a_scram_server_that_makes_no_sense(self):
        script = Script({"AUTH": "334 cj1hLHM9YSxpPTE=", "LOGIN": "501 cancelled"}, ("AUTH SCRAM-SHA-1",))
        text, server = await self.log_in(script, Credentials("me", "secret"))
        assert text.startswith("Login given up: ") and server.dialogs[0][2] == "*"

    async def test_a_token_is_read_again_for_each_login(self):
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory, "token")
            for token in ("one", "two"):
                path.write_text(f"{token}\n")
                text, server = await self.log_in(
                    Script(extensions=("AUTH PLAIN XOAUTH2",)), Credentials("me", token_file=str(path))
                )
                assert text == "" and server.dialogs[0][1].startswith("AUTH XOAUTH2 ")
            refusing = Script({"AUTH": "334 e30=", "LOGIN": "535 5.7.8 expired"}, ("AUTH XOAUTH2",))
            text, server = await self.log_in(refusing, Credentials("me", token_file=str(path)))
            assert text == "Login refused: 535 5.7.8 expired" and server.dialogs[0][2] == ""
            missing = Credentials("me", token_file=f"{path}.none")
            text, _ = await self.log_in(Script(extensions=("AUTH XOAUTH2",)), missing)
            assert text.startswith("Cannot read the token to log in with: ")
