"""The relay with servers that behave: recipients told apart, connections kept, content intact, TLS, login."""

import tempfile
from pathlib import Path

from certificates import Authority, authority
from relay_town import CONTENT, RelayTestCase, Slow
from scripted_server import DROP, EXTENSIONS, HANG, Script
from twisted.internet.defer import Deferred, gatherResults
from zope.interface.verify import verifyObject

from twisted_mta.interfaces import IDeliverer
from twisted_mta.message.address import Address
from twisted_mta.message.content import Content
from twisted_mta.message.envelope import MailParameters
from twisted_mta.message.outcome import Action, QueuedRecipient
from twisted_mta.transfer.mta.relay.limits import StageTimeouts
from twisted_mta.transfer.mta.routing import Credentials
from twisted_mta.transfer.mta.tls import policy as tls_policy
from twisted_mta.transfer.mta.tls.policy import TlsPolicy

RELAYED, DELAYED, FAILED = Action.RELAYED, Action.DELAYED, Action.FAILED


def texts(outcomes):
    return [(outcome.action, outcome.text) for outcome in outcomes]


class TestRelay(RelayTestCase):
    async def between(self, *scripts, **settings):
        await self.serve(*scripts)
        await self.start(**settings)
        return self.servers

    async def test_one_message(self):
        (server,) = await self.between(Script())
        assert verifyObject(IDeliverer, self.relay)
        (outcome,) = await self.send()
        assert outcome.action is RELAYED and outcome.remote_mta == "mx0.b.test"
        assert outcome.text == "250 2.0.0 queued" and outcome.status == "2.0.0"
        (message,) = server.messages
        assert (message.mail, message.recipients) == ("<alice@a.test>", ["<bob@b.test>"])
        assert message.data == CONTENT
        assert server.dialogs == [
            [
                "EHLO mx.a.test",
                f"MAIL FROM:<alice@a.test> SIZE={len(CONTENT)}",
                "RCPT TO:<bob@b.test>",
                "DATA",
            ]
        ]
        (relayed,) = self.told("relayed")
        assert {**relayed, "to": str(relayed["to"])} == {
            "to": "bob@b.test",
            "host": "mx0.b.test",
            "address": "127.0.0.1",
            "tls": "",
            "status": "2.0.0",
            "reply": "250 2.0.0 queued",
            "cause": "",
            "tracking": "",
        }

    # Recipients

    async def test_recipients_are_told_apart(self):
        for extensions in (EXTENSIONS, ()):
            replies = ["250 ok", "550 5.1.1 nobody", "450 4.2.0 later", "251 will forward"]
            (server,) = await self.between(Script({"RCPT": replies}, extensions))
            outcomes = await self.send("r1@b.test", "r2@b.test", "r3@b.test", "r4@b.test")
            assert texts(outcomes) == [
                (RELAYED, "250 2.0.0 queued"),
                (FAILED, "550 5.1.1 nobody"),
                (DELAYED, "450 4.2.0 later"),
                (RELAYED, "250 2.0.0 queued"),
            ]
            assert server.messages[0].recipients == ["<r1@b.test>", "<r4@b.test>"]
            await self.relay.stop()

    async def test_the_second_host_gets_whom_the_first_delays(self):
        first, second = await self.between(Script({"RCPT": ["250 ok", "450 later", "550 no"]}), Script())
        outcomes = await self.send("r1@b.test", "r2@b.test", "r3@b.test")
        assert [outcome.action for outcome in outcomes] == [RELAYED, RELAYED, FAILED]
        assert [outcome.remote_mta for outcome in outcomes] == ["mx0.b.test", "mx1.b.test", "mx0.b.test"]
        assert first.messages[0].recipients == ["<r1@b.test>"]
        assert second.messages[0].recipients == ["<r2@b.test>"]

    async def test_the_final_refusal_is_for_those_who_were_accepted(self):
        await self.between(Script({"RCPT": ["250 ok", "550 nobody"], "FINAL": "554 5.6.0 spam"}))
        outcomes = await self.send("r1@b.test", "r2@b.test")
        assert texts(outcomes) == [(FAILED, "554 5.6.0 spam"), (FAILED, "550 nobody")]

    async def test_all_recipients_refused_but_data_accepted(self):
        """The empty content is never a message; the connection stays of use."""
        script = Script(
            {"RCPT": ["550 nobody", "250 ok"], "DATA": "354 go", "FINAL": ["554 nobody", "250 ok"]}
        )
        (server,) = await self.between(script)
        assert texts(await self.send()) == [(FAILED, "550 nobody")]
        assert texts(await self.send()) == [(RELAYED, "250 ok")]
        assert len(server.dialogs) == 1 and [message.data for message in server.messages] == [CONTENT]

    async def test_too_many_recipients_for_the_server(self):
        for code in ("452 4.5.3 too many", "452 too many", "552 too many"):
            replies = ["250 ok", "250 ok", code, code, "250 ok", code, "250 ok"]
            (server,) = await self.between(Script({"RCPT": replies}))
            outcomes = await self.send(*(f"r{n}@b.test" for n in range(4)))
            assert [outcome.action for outcome in outcomes] == [RELAYED] * 4
            assert [len(message.recipients) for message in server.messages] == [2, 1, 1]
            assert len(server.dialogs) == 1
            await self.relay.stop()

    async def test_too_many_from_the_start(self):
        await self.between(Script({"RCPT": "552 too many recipients"}))
        (outcome,) = await self.send()
        assert (outcome.action, outcome.status) == (DELAYED, "4.5.3")
        assert outcome.text == "552 too many recipients"

    async def test_552_that_means_a_full_mailbox(self):
        await self.between(Script({"RCPT": "552 5.2.2 over quota"}))
        assert texts(await self.send()) == [(FAILED, "552 5.2.2 over quota")]

    async def test_two_hundred_and_fifty_recipients(self):
        (server,) = await self.between(Script())
        outcomes = await self.send(*(f"r{n}@b.test" for n in range(250)))
        assert {outcome.action for outcome in outcomes} == {RELAYED}
        assert [len(message.recipients) for message in server.messages] == [100, 100, 50]
        assert len(server.dialogs) == 1

    async def test_the_connection_ends_between_two_batches(self):
        (server,) = await self.between(
            Script({"FINAL": ["250 ok", "421 tired", "250 ok"]}), limits={"recipients": 1}
        )
        outcomes = await self.send("r1@b.test", "r2@b.test", "r3@b.test")
        assert [outcome.action for outcome in outcomes] == [RELAYED, DELAYED, RELAYED]
        assert len(server.dialogs) == 2

    async def test_what_an_alias_sends_on_is_marked_with_it(self):
        def member(number, path, alias):
            return QueuedRecipient(number, Address.parse(path), original_path=Address.parse(alias))

        (server,) = await self.between(Script())
        outcomes = await self.send(
            "r1@b.test",
            member(11, "r2@b.test", "list@a.test"),
            member(12, "r3@b.test", "Sales@a.test"),
            member(13, "r4@b.test", "list@a.test"),
            "r5@b.test",
        )
        assert [outcome.action for outcome in outcomes] == [RELAYED] * 5
        assert [(message.recipients, message.data) for message in server.messages] == [
            (["<r1@b.test>", "<r5@b.test>"], CONTENT),
            (["<r2@b.test>", "<r4@b.test>"], b"Delivered-To: list@a.test\r\n" + CONTENT),
            (["<r3@b.test>"], b"Delivered-To: Sales@a.test\r\n" + CONTENT),
        ]
        (dialog,) = server.dialogs
        sizes = [f"SIZE={len(message.data)}" for message in server.messages]
        assert [line.split()[-1] for line in dialog if line.startswith("MAIL")] == sizes

    # Addresses

    async def test_addresses_cannot_become_commands(self):
        (server,) = await self.between(Script())
        evil = Address("x>\r\nRCPT TO:<y", "b.test")
        outcomes = await self.send("bob@b.test", evil)
        assert [(outcome.action, outcome.status) for outcome in outcomes] == [
            (RELAYED, "2.0.0"),
            (FAILED, "5.1.3"),
        ]
        assert server.messages[0].recipients == ["<bob@b.test>"]
        outcomes = await self.send(sender=evil)
        assert [(outcome.action, outcome.status) for outcome in outcomes] == [(FAILED, "5.1.7")]
        assert len(server.messages) == 1

    async def test_the_null_path(self):
        (server,) = await self.between(Script())
        await self.send(sender=None)
        assert server.messages[0].mail == "<>"

    # Content

    async def test_content_arrives_as_it_is(self):
        contents = [
            b"",
            b".",
            b".\r\n",
            b"..\r\n.\r\n.x\r\n",
            b"no final line end",
            b"\r\n.\r\n" * 1000,
            "Grüße\r\n".encode(),
            b"x" * 100_000 + b"\r\n",
        ]
        (server,) = await self.between(Script())
        with tempfile.TemporaryDirectory() as directory:
            for number, body in enumerate(contents):
                path = Path(directory, str(number))
                path.write_bytes(body)
                for content in (Content(b"", body), Content(b"", path=path)):
                    (outcome,) = await self.send(content=content)
                    assert outcome.action is RELAYED
                in_memory, spooled = server.messages[-2:]
                expected = body if body.endswith(b"\r\n") or not body else body + b"\r\n"
                assert in_memory.data == spooled.data == expected

    async def test_dots_on_chunk_borders(self):
        """A regression test of twisted.mail's fault: a dot that opens a chunk was not stuffed."""
        (server,) = await self.between(Script())
        with tempfile.TemporaryDirectory() as directory:
            for shift in range(5):
                body = (
                    b"x" * (65536 - 4 + shift) + b"\r\n.\r\nMAIL FROM:<evil@x.test>\r\n" + b".\r\n" * 50_000
                )
                path = Path(directory, str(shift))
                path.write_bytes(body)
                (outcome,) = await self.send(content=Content(b"Received: x\r\n", path=path))
                assert outcome.action is RELAYED
                assert server.messages[-1].data == b"Received: x\r\n" + body
        assert len(server.messages) == 5 and len(server.dialogs) == 1

    async def test_bare_line_ends_are_made_whole(self):
        (server,) = await self.between(Script())
        smuggled = b"Subject: x\n\nbody\n.\nMAIL FROM:<evil@x.test>\r.\r\r\n"
        await self.send(content=smuggled)
        (message,) = server.messages
        assert message.data == b"Subject: x\r\n\r\nbody\r\n.\r\nMAIL FROM:<evil@x.test>\r\n.\r\n\r\n"

    async def test_a_big_message_from_a_file(self):
        (server,) = await self.between(Script())
        body = b"".join(b"%07d\r\n" % n for n in range(1_000_000))
        with tempfile.NamedTemporaryFile() as file:
            file.write(body)
            file.flush()
            (outcome,) = await self.send(content=Content(b"", path=Path(file.name)))
        assert outcome.action is RELAYED and server.messages[0].data == body

    async def test_a_spool_file_that_cannot_be_read(self):
        """Local trouble is temporary, and half a message never becomes a whole one."""
        (server,) = await self.between(Script())
        (outcome,) = await self.send(content=Content(b"", path=Path("/nonexistent")))
        assert (outcome.action, outcome.status) == (DELAYED, "4.3.0")
        assert server.messages == []
        assert len(self.flushLoggedErrors(OSError)) == 1

    async def test_size(self):
        (server,) = await self.between(Script(extensions=("SIZE 1000",)))
        (outcome,) = await self.send(content=b"x" * 1001)
        assert (outcome.action, outcome.status) == (FAILED, "5.3.4")
        (outcome,) = await self.send(content=b"x" * 1000)
        assert outcome.action is RELAYED
        assert server.dialogs == [
            ["EHLO mx.a.test", "MAIL FROM:<alice@a.test> SIZE=1000", "RCPT TO:<bob@b.test>", "DATA"]
        ]

    async def test_eight_bit_content(self):
        (server,) = await self.between(Script())
        await self.send(content="Grüße\r\n".encode())
        await self.send(parameters=MailParameters(body="8BITMIME"))
        await self.send()
        mails = [line for line in server.dialogs[0] if line.startswith("MAIL")]
        assert [line.endswith(" BODY=8BITMIME") for line in mails] == [True, True, False]

    # Routes

    async def test_a_domain_without_a_way(self):
        await self.between(Script())
        (outcome,) = await self.send("x@nowhere.test")
        assert (outcome.action, outcome.status, outcome.remote_mta) == (FAILED, "5.1.2", "")
        (event,) = self.told("relay-failed")
        assert (event["status"], "reply" in event) == ("5.1.2", False)  # nobody was asked
        assert event["reason"] == "Domain nowhere.test does not exist"

    async def test_a_route_of_the_configuration(self):
        (server,) = await self.serve(Script())
        await self.start(routing={"routes": {"far.test": f"127.0.0.1:{server.port}"}})
        (outcome,) = await self.send("x@far.test")
        assert outcome.action is RELAYED and outcome.remote_mta == "127.0.0.1"

    async def test_a_host_of_our_own_name(self):
        await self.between(Script(name="MX.A.test"))
        (outcome,) = await self.send()
        assert (outcome.action, outcome.status) == (FAILED, "5.4.6")

    async def test_a_host_of_our_own_name_behind_one_that_is_down(self):
        first, _, third = await self.between(
            Script({"BANNER": "421 busy"}), Script(name="mx.a.test"), Script()
        )
        (outcome,) = await self.send()
        assert (outcome.action, outcome.text) == (DELAYED, "421 busy")
        assert len(first.dialogs) == 1 and not third.dialogs

    # Connections

    async def test_a_connection_is_used_again(self):
        (server,) = await self.between(Script())
        for _ in range(3):
            await self.send()
        assert len(server.messages) == 3
        assert [line.partition(" ")[0] for line in server.dialogs[0]] == [
            *("EHLO", "MAIL", "RCPT", "DATA"),
            *("RSET", "MAIL", "RCPT", "DATA") * 2,
        ]

    async def test_a_connection_is_used_again_after_a_refusal(self):
        (server,) = await self.between(
            Script({"RCPT": ["550 no", "250 ok"], "MAIL": ["250 ok", "452 no", "250 ok"]})
        )
        outcomes = [(await self.send())[0].action for _ in range(3)]
        assert outcomes == [FAILED, DELAYED, RELAYED]
        assert len(server.dialogs) == 1

    async def test_a_connection_has_its_day(self):
        (server,) = await self.between(Script(), limits={"messages": 2})
        for _ in range(5):
            await self.send()
        assert [len([line for line in dialog if line == "DATA"]) for dialog in server.dialogs] == [2, 2, 1]
        assert [dialog[-1] for dialog in server.dialogs] == ["QUIT", "QUIT", "DATA"]

    async def test_an_idle_connection_is_given_up(self):
        (server,) = await self.between(Script(), limits={"timeouts": StageTimeouts(idle=0.0)})
        await self.send()
        await self.until(lambda: not server.open)
        assert server.dialogs[0][-1] == "QUIT"
        await self.send()
        assert len(server.dialogs) == 2

    async def test_a_kept_connection_that_the_server_is_tired_of(self):
        for fault in (
            {"RSET": ["421 idle", "250 ok"]},
            {"RSET": [DROP, "250 ok"]},
            {"RSET": [HANG, "250 ok"]},
            {"MAIL": ["250 ok", "421 enough", "250 ok"]},
        ):
            (server,) = await self.between(Script(fault))
            for _ in range(3):
                (outcome,) = await self.send()
                assert outcome.action is RELAYED, fault
            assert len(server.dialogs) == 2 and len(server.messages) == 3
            assert self.told("host-failed") == []
            await self.relay.stop()

    async def test_a_kept_connection_closed_by_the_server_before_it_is_used(self):
        (server,) = await self.between(Script())
        await self.send()
        (connection,) = server.open
        connection.transport.write(b"421 4.4.2 idle for too long\r\n")
        connection.transport.loseConnection()
        await self.until(lambda: not server.open)
        (outcome,) = await self.send()
        assert outcome.action is RELAYED and len(server.dialogs) == 2

    async def test_an_alias_that_is_not_ascii_is_named_to_who_understands(self):
        """A server without SMTPUTF8 gets octets of ASCII only (RFC 6531 §3.4, §3.6)."""
        alias = Address.parse("jürgen@a.test", utf8=True)
        mark = f"Delivered-To: {alias}\r\n".encode()
        for more, first, said in (
            ((), b"", ""),
            (("SMTPUTF8",), b"", ""),
            (("8BITMIME",), b"", ""),
            (("SMTPUTF8", "8BITMIME"), mark, " BODY=8BITMIME SMTPUTF8"),
        ):
            (server,) = await self.between(Script(extensions=more))
            outcomes = await self.send(QueuedRecipient(1, Address("bob", "b.test"), original_path=alias))
            assert [outcome.action for outcome in outcomes] == [RELAYED]
            assert server.messages[0].data == first + CONTENT
            assert server.dialogs[0][1] == f"MAIL FROM:<alice@a.test>{said}"
            await self.relay.stop()

    async def preparing(self):
        """A relay that has kept a connection, and a message that is being made ready for it: the server, the
        clock, what the message waits for, and its outcomes."""
        begun, ready = Deferred(), Deferred()

        async def rewrite(reverse_path):
            if not begun.called:
                begun.callback(None)
            await ready
            return reverse_path

        slow = Slow()
        (server,) = await self.between(Script(), reactor=slow, rewrite=rewrite)
        await self.send()
        sent_on = QueuedRecipient(1, Address("bob", "b.test"), original_path=Address("alias", "a.test"))
        sending = Deferred.fromCoroutine(self.send(sent_on))
        await begun
        return server, slow.clock, ready, sending

    async def test_a_kept_connection_waits_for_the_message_it_was_taken_for(self):
        server, clock, ready, sending = await self.preparing()
        clock.advance(3600.0)
        ready.callback(None)
        (outcome,) = await sending
        assert outcome.action is RELAYED and len(server.dialogs) == 1
        assert "QUIT" not in server.dialogs[0]

    async def test_one_that_the_server_closes_while_the_message_is_made_ready(self):
        server, _, ready, sending = await self.preparing()
        (connection,) = server.open
        connection.transport.write(b"421 4.4.2 idle for too long\r\n")
        await self.until(lambda: not server.open)
        ready.callback(None)
        (outcome,) = await sending
        assert outcome.action is RELAYED and len(server.dialogs) == 2

    async def test_stop_while_a_message_is_made_ready(self):
        server, _, ready, sending = await self.preparing()
        stopped = Deferred.fromCoroutine(self.relay.stop())
        ready.callback(None)
        (outcome,) = await sending
        await stopped
        assert outcome.action is DELAYED and len(server.messages) == 1
        assert self.flushLoggedErrors() == []

    async def test_connections_at_once(self):
        (server,) = await self.between(Script(), limits={"per_destination": 3})
        await gatherResults([Deferred.fromCoroutine(self.send()) for _ in range(20)])
        assert len(server.messages) == 20 and len(server.dialogs) == 3
        assert self.relay._turns == {}

    async def test_no_more_connections_are_kept_than_the_limit(self):
        for kept in (0, 1, 2):
            (server,) = await self.between(Script(), limits={"kept": kept})
            await gatherResults([Deferred.fromCoroutine(self.send()) for _ in range(4)])
            await self.until(lambda: len(server.open) <= kept)  # noqa: B023
            assert [dialog[-1] for dialog in server.dialogs].count("QUIT") == 4 - kept
            await self.relay.stop()

    async def test_stop_says_goodbye(self):
        (server,) = await self.between(Script())
        await self.send()
        await self.relay.stop()
        await self.until(lambda: not server.open)
        assert server.dialogs[0][-1] == "QUIT"

    async def test_stop_cuts_what_does_not_end(self):
        await self.between(Script({"MAIL": HANG}))
        sending = Deferred.fromCoroutine(self.send())
        (server,) = self.servers
        await self.until(lambda: server.dialogs and len(server.dialogs[0]) == 2)
        await self.relay.stop()
        (outcome,) = await sending
        assert outcome.action is DELAYED


class TestTls(RelayTestCase):
    """Certificates are for the names of the hosts, or for others."""

    def script(self, *reactions, name="mx0.b.test", **more):
        return Script(*reactions, tls=authority().server(name), **more)

    async def between(self, *scripts, **settings):
        await self.serve(*scripts)
        await self.start(**settings)
        return self.servers

    async def test_starttls_when_offered(self):
        (server,) = await self.between(self.script())
        (outcome,) = await self.send()
        assert outcome.action is RELAYED and server.messages[0].tls
        assert [line.partition(" ")[0] for line in server.dialogs[0]] == [
            *("EHLO", "STARTTLS", "EHLO", "MAIL", "RCPT", "DATA")
        ]
        (relayed,) = self.told("relayed")
        assert relayed["tls"] == "TLSv1.3"

    async def test_a_kept_connection_in_tls(self):
        (server,) = await self.between(self.script())
        for _ in range(3):
            await self.send(content=b"x" * 200_000 + b"\r\n")
        assert len(server.dialogs) == 1 and all(message.tls for message in server.messages)
        await self.relay.stop()
        assert server.dialogs[0][-1] == "QUIT"

    async def test_a_wrong_certificate_is_better_than_none(self):
        (server,) = await self.between(self.script(name="somebody.else.test"))
        await self.send()
        assert server.messages[0].tls

    async def test_a_big_message_from_a_file_in_tls(self):
        (server,) = await self.between(self.script())
        body = b"".join(b".%07d\r\n" % n for n in range(300_000))
        with tempfile.NamedTemporaryFile() as file:
            file.write(body)
            file.flush()
            (outcome,) = await self.send(content=Content(b"", path=Path(file.name)))
        assert outcome.action is RELAYED and server.messages[0].data == body

    async def test_a_handshake_that_fails_leads_to_the_clear(self):
        (server,) = await self.between(self.script())
        server.buildProtocol = broken_tls_once(server)
        (outcome,) = await self.send()
        assert outcome.action is RELAYED and not server.messages[0].tls
        assert ["STARTTLS" in dialog for dialog in server.dialogs] == [True, False]
        assert len(self.told("tls-failed")) == 1

    async def test_a_handshake_that_hangs_leads_to_the_clear(self):
        (server,) = await self.between(self.script())
        server.buildProtocol = broken_tls_once(server, silent=True)
        (outcome,) = await self.send()
        assert outcome.action is RELAYED and not server.messages[0].tls

    async def test_words_injected_behind_the_go_ahead(self):
        """The connection is dropped: nothing of it is believed (acceptance 23)."""
        for injected in (b"250 injected\r\n", b"250-x", b"\r\n"):
            (server,) = await self.between(self.script(injected=injected))
            (outcome,) = await self.send()
            assert (outcome.action, outcome.text) == (DELAYED, "Plain text behind the go-ahead for TLS")
            assert server.messages == [] and server.dialogs == [["EHLO mx.a.test", "STARTTLS"]]
            await self.relay.stop()


def broken_tls_once(server, silent=False):
    """The first connection has a broken TLS: an alert instead of a handshake, or silence."""
    build = type(server).buildProtocol

    def shake_hands(connection):
        connection.hangs = silent

        def alert(data):
            if not silent:
                connection.transport.write(b"\x15\x03\x01\x00\x02\x02\x28")

        connection.dataReceived = alert

    def buildProtocol(addr):
        connection = build(server, addr)
        if not server.dialogs:
            connection.shake_hands = lambda: shake_hands(connection)
        return connection

    return buildProtocol


LOGIN = Credentials("us@a.test", "s3cret")


class TestSmarthost(RelayTestCase):
    async def smarthost(self, script, host="127.0.0.1", **settings):
        await self.serve(script)
        routing = {"smarthost": f"{host}:{self.port}", "smarthost_credentials": LOGIN}
        await self.start(routing=routing, **settings)
        return self.servers[0]

    async def test_login_over_tls(self):
        server = await self.smarthost(Script(tls=authority().server("x"), extensions=("AUTH PLAIN",)))
        outcomes = await self.send("x@anywhere.test", "y@anywhere.test")
        assert {outcome.action for outcome in outcomes} == {RELAYED}
        verbs = [line.partition(" ")[0] for line in server.dialogs[0]]
        assert verbs == ["EHLO", "STARTTLS", "EHLO", "AUTH", "MAIL", "RCPT", "RCPT", "DATA"]
        await self.send("x@elsewhere.test")
        assert len(server.dialogs) == 1
        assert "s3cret" not in repr(self.events)

    async def test_login_method_login(self):
        reactions = {"AUTH": "334 VXNlcm5hbWU6", "LOGIN": ["334 UGFzc3dvcmQ6", "235 ok"]}
        server = await self.smarthost(Script(reactions, ("AUTH LOGIN",)))
        (outcome,) = await self.send("x@anywhere.test")
        assert outcome.action is RELAYED
        assert server.dialogs[0][1] == "AUTH LOGIN"

    async def test_a_refused_login_is_no_reason_to_bounce(self):
        await self.smarthost(Script({"AUTH": "535 5.7.8 wrong"}, ("AUTH PLAIN",)))
        (outcome,) = await self.send("x@anywhere.test")
        assert (outcome.action, outcome.status) == (DELAYED, "4.7.8")
        assert outcome.text == "Login refused: 535 5.7.8 wrong"

    async def test_no_login_to_be_had(self):
        await self.smarthost(Script())
        (outcome,) = await self.send("x@anywhere.test")
        assert (outcome.action, outcome.status) == (DELAYED, "4.7.0")


class TestDistantSmarthost(RelayTestCase):
    """The certificate must be right before a password is sent."""

    async def outcome(self, script):
        await self.serve(script)
        self.patch(tls_policy, "_is_near", lambda host: False)
        smarthost = f"smtps:mx0.b.test:{self.port}" if script.tls_first else f"mx0.b.test:{self.port}"
        routing = {"smarthost": smarthost, "smarthost_credentials": LOGIN}
        await self.start(routing=routing, tls=TlsPolicy(trust_root=authority().certificate))
        (outcome,) = await self.send("x@anywhere.test")
        return outcome

    async def refused(self, script, stage):
        outcome = await self.outcome(script)
        assert outcome.action is DELAYED
        said = [line for dialog in self.servers[0].dialogs for line in dialog]
        assert not any(line.startswith(("AUTH", "MAIL")) for line in said)
        assert [failure["at"] for failure in self.told("host-failed")] == [stage]

    async def test_the_right_certificate(self):
        outcome = await self.outcome(Script({}, ("AUTH PLAIN",), tls=authority().server("mx0.b.test")))
        assert outcome.action is RELAYED and self.servers[0].messages[0].tls

    async def test_the_wrong_name(self):
        script = Script({}, ("AUTH PLAIN",), tls=authority().server("mx1.b.test"))
        await self.refused(script, "TLS handshake")

    async def test_the_wrong_authority(self):
        script = Script({}, ("AUTH PLAIN",), tls=Authority().server("mx0.b.test"))
        await self.refused(script, "TLS handshake")

    async def test_no_tls(self):
        await self.refused(Script({}, ("AUTH PLAIN",)), "STARTTLS")

    async def test_tls_refused(self):
        script = Script({"STARTTLS": "454 no"}, ("AUTH PLAIN",), tls=authority().server("mx0.b.test"))
        await self.refused(script, "STARTTLS")

    async def test_tls_dropped(self):
        script = Script({"STARTTLS": DROP}, ("AUTH PLAIN",), tls=authority().server("mx0.b.test"))
        await self.refused(script, "STARTTLS")
        assert len(self.servers[0].dialogs) == 1

    async def test_tls_from_the_first_octet(self):
        script = Script({}, ("AUTH PLAIN",), tls=authority().server("mx0.b.test"), tls_first=True)
        outcome = await self.outcome(script)
        assert outcome.action is RELAYED
        assert self.servers[0].dialogs[0][1].startswith("AUTH PLAIN ")
