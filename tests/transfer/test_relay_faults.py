"""Servers that misbehave at every stage, on real sockets (acceptance 11).

For each fault: what becomes of a message when the server is the only one, and when a second one is there.
"""

import os
import resource

from certificates import authority
from relay_town import CONTENT, RelayTestCase, Slow
from scripted_server import DROP, HANG, Script
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from twisted_mta.message.outcome import Action
from twisted_mta.transfer.mta.relay.limits import StageTimeouts

RELAYED, DELAYED, FAILED = Action.RELAYED, Action.DELAYED, Action.FAILED
TEMPORARY, PERMANENT = "451 4.3.9 not now", "554 5.3.9 never"

STAGES = ("BANNER", "EHLO", "STARTTLS", "MAIL", "RCPT", "DATA", "FINAL", "QUIT")
FAULTS = {"hang": HANG, "drop": DROP, "temporary": TEMPORARY, "permanent": PERMANENT}

# The outcome with one server, and with a good one behind it. What is not listed is delayed by the bad
# server alone, and relayed by the second one.
OUTCOMES = {
    ("BANNER", "permanent"): (FAILED, RELAYED),
    ("EHLO", "permanent"): (RELAYED, RELAYED),  # HELO is understood
    **{("STARTTLS", fault): (RELAYED, RELAYED) for fault in FAULTS},  # opportunistic
    **{(stage, "permanent"): (FAILED, FAILED) for stage in ("MAIL", "RCPT", "DATA", "FINAL")},
    ("FINAL", "hang"): (DELAYED, DELAYED),  # the message may have been accepted
    ("FINAL", "drop"): (DELAYED, DELAYED),
    **{("QUIT", fault): (RELAYED, RELAYED) for fault in FAULTS},
}


class TestFaults(RelayTestCase):
    async def fault(self, stage, fault, *, pipelining, second):
        extensions = ("PIPELINING",) if pipelining else ()
        bad = Script({stage: FAULTS[fault]}, extensions, tls=authority().server("mx.b.test"))
        await self.serve(bad, *[Script()] * second)
        await self.start(limits={"messages": 1})
        (outcome,) = await self.send()
        expected = OUTCOMES.get((stage, fault), (DELAYED, RELAYED))[second]
        assert outcome.action is expected, outcome
        self.check_text(outcome, stage, fault)
        received = [message for server in self.servers for message in server.messages]
        # When the final reply is lost the message has been received, and is not sent again at once.
        assert len(received) == (expected is RELAYED or (stage == "FINAL" and fault in ("hang", "drop")))
        assert all(message.data == CONTENT for message in received)

    def check_text(self, outcome, stage, fault):
        if outcome.action is RELAYED:
            assert outcome.text == "250 2.0.0 queued" and outcome.status == "2.0.0"
        elif fault in ("temporary", "permanent"):
            assert (outcome.text, outcome.status[1:]) == (FAULTS[fault], ".3.9")
        else:
            assert outcome.status == "4.4.2" and outcome.remote_mta == "mx0.b.test"
            assert outcome.broke_off is (stage not in ("BANNER", "EHLO"))


def _add_cases():
    for stage in STAGES:
        for fault in FAULTS:
            for pipelining in (False, True):
                for second in (0, 1):

                    async def case(self, s=stage, f=fault, p=pipelining, n=second):
                        await self.fault(s, f, pipelining=p, second=n)

                    way = "pipelined" if pipelining else "in_turn"
                    setattr(TestFaults, f"test_{stage}_{fault}_{way}_{second + 1}_servers".lower(), case)


_add_cases()


class TestOtherFaults(RelayTestCase):
    async def outcome(self, *scripts, **settings):
        await self.serve(*scripts)
        await self.start(**settings)
        (outcome,) = await self.send()
        return outcome

    async def test_connection_refused(self):
        await self.serve(Script())
        await self.start()
        (outcome,) = await self.send("bob@c.test")
        assert (outcome.action, outcome.status) == (DELAYED, "4.4.1")
        assert outcome.text == "Connection refused"
        assert outcome.remote_mta == "mx.c.test"

    async def test_connection_refused_by_the_first_host(self):
        await self.serve(Script(), Script())
        await self.servers[0].close()
        await self.start()
        (outcome,) = await self.send()
        assert (outcome.action, outcome.remote_mta) == (RELAYED, "mx1.b.test")
        (failure,) = self.told("host-failed")
        assert (failure["host"], failure["at"]) == ("mx0.b.test", "connect")

    async def test_all_hosts_refuse_for_good(self):
        outcome = await self.outcome(Script({"BANNER": PERMANENT}), Script({"BANNER": "521 no mail"}))
        assert (outcome.action, outcome.text) == (FAILED, "521 no mail")

    async def test_one_host_with_hope_is_enough(self):
        for scripts in (("421 busy", "521 no mail"), ("521 no mail", "421 busy"), (DROP, "521 no mail")):
            outcome = await self.outcome(*(Script({"BANNER": banner}) for banner in scripts))
            assert outcome.action is DELAYED
            await self.relay.stop()

    async def test_words_outweigh_silence(self):
        outcome = await self.outcome(Script({"RCPT": "450 4.2.0 greylisted"}), Script({"BANNER": DROP}))
        assert (outcome.text, outcome.remote_mta) == ("450 4.2.0 greylisted", "mx0.b.test")

    async def test_ehlo_and_helo_refused_for_good(self):
        outcome = await self.outcome(Script({"EHLO": PERMANENT, "HELO": "550 no"}))
        assert (outcome.action, outcome.text, outcome.status) == (FAILED, "550 no", "5.0.0")

    async def test_421_at_every_stage(self):
        for stage in STAGES:
            if stage != "QUIT":
                tls = authority().server("mx.b.test")
                outcome = await self.outcome(Script({stage: "421 4.3.2 closing"}, tls=tls), Script())
                assert (outcome.action, outcome.remote_mta) == (RELAYED, "mx1.b.test"), stage
                await self.relay.stop()

    async def test_garbage_at_every_stage(self):
        for stage in STAGES:
            if stage != "QUIT":
                tls = authority().server("mx.b.test")
                outcome = await self.outcome(Script({stage: "<html>hello</html>"}, tls=tls))
                assert (outcome.action, outcome.status) == (DELAYED, "4.5.0"), stage
                await self.relay.stop()

    async def test_many_lines_at_every_stage(self):
        codes = {"BANNER": 220, "DATA": 354, "MAIL": 250, "RCPT": 251, "FINAL": 250, "QUIT": 221}
        lines = {stage: "\n".join([f"{code}-x"] * 50 + [f"{code} end"]) for stage, code in codes.items()}
        outcome = await self.outcome(Script(lines))
        assert outcome.action is RELAYED
        assert self.servers[0].messages[0].data == CONTENT

    async def test_a_server_that_drips_makes_no_progress(self):
        await self.serve(Script({"BANNER": HANG}))
        await self.start()

        def drip():
            for connection in self.servers[0].open:
                connection.transport.write(b"220-slow\r\n")

        dripping = LoopingCall(drip)
        dripping.start(0.01)
        self.addCleanup(dripping.stop)
        (outcome,) = await self.send()
        assert (outcome.action, outcome.text) == (DELAYED, "Timed out waiting for greeting")

    async def test_the_end_of_an_attempt_at_hosts_that_say_later(self):
        scripts = [Script({"RCPT": "451 later"}) for _ in range(3)]
        outcome = await self.outcome(*scripts, limits={"sessions": 2})
        assert outcome.action is DELAYED
        assert [len(server.dialogs) for server in self.servers] == [1, 1, 0]

    async def test_verdict_in_the_middle_of_the_content(self):
        script = Script({"CONTENT": "552 5.3.4 too big"})
        await self.serve(script)
        await self.start()
        (outcome,) = await self.send(content=b"x" * 5_000_000)
        assert (outcome.action, outcome.text) == (FAILED, "552 5.3.4 too big")
        for connection in self.servers[0].open:
            connection.hangs = True  # it will not see that the client says goodbye

    async def test_a_reader_who_stops_reading(self):
        await self.serve(Script({"CONTENT": HANG}))
        await self.start()
        (outcome,) = await self.send(content=b"x" * 20_000_000)
        assert (outcome.action, outcome.text) == (DELAYED, "Timed out waiting for message content")

    async def test_the_journey_tells_of_a_delay(self):
        await self.outcome(Script({"RCPT": "450 4.2.0 greylisted"}))
        (delayed,) = self.told("delayed")
        expected = {
            "host": "mx0.b.test",
            "address": "127.0.0.1",
            "status": "4.2.0",
            "reply": "450 4.2.0 greylisted",
            "cause": "",
        }
        assert {name: delayed[name] for name in expected} == expected


class TestTime(RelayTestCase):
    """Minutes and hours, on a clock of the test's own."""

    async def begin(self, script):
        self.slow = Slow()
        await self.serve(script)
        await self.start(reactor=self.slow, limits={"timeouts": StageTimeouts(), "sweep": 1.0})
        self.addCleanup(self.cut)
        self.outcome = Deferred.fromCoroutine(self.send())
        await self.until(lambda: self.servers[0].open)

    def cut(self):
        """Nobody waits for a goodbye: the clock stands still."""
        for connection in self.servers[0].open:
            connection.transport.abortConnection()

    async def pass_time(self, seconds):
        """In steps, as a clock does."""
        for _ in range(int(seconds)):
            self.slow.clock.advance(1)
        await self.turn()

    async def test_a_greeting_after_four_minutes(self):
        await self.begin(Script({"BANNER": HANG}))
        await self.pass_time(240)
        (connection,) = self.servers[0].open
        connection.deaf = False
        connection.transport.write(b"220 mx.b.test at last\r\n")
        (outcome,) = await self.outcome
        assert outcome.action is RELAYED

    async def test_a_greeting_after_six_minutes_is_too_late(self):
        await self.begin(Script({"BANNER": HANG}))
        await self.pass_time(299)
        assert not self.outcome.called
        await self.pass_time(2)
        (outcome,) = await self.outcome
        assert (outcome.action, outcome.text) == (DELAYED, "Timed out waiting for greeting")

    async def test_a_final_reply_after_nine_minutes(self):
        await self.begin(Script({"FINAL": HANG}))
        await self.until(lambda: self.servers[0].messages)
        await self.pass_time(540)
        (connection,) = self.servers[0].open
        connection.transport.write(b"250 taken\r\n")
        (outcome,) = await self.outcome
        assert outcome.action is RELAYED

    async def test_the_clock_jumps_an_hour(self):
        """Ahead: what is under way has timed out, and is delayed. Back: nothing changes."""
        for jump, action in ((3600.0, DELAYED), (-3600.0, RELAYED)):
            await self.begin(Script({"FINAL": [HANG, "250 ok"]}))
            await self.until(lambda: self.servers[0].messages)
            self.slow.clock.rightNow += jump
            await self.pass_time(5)
            if action is RELAYED:
                (connection,) = self.servers[0].open
                connection.deaf = False
                connection.transport.write(b"250 taken\r\n")
            (outcome,) = await self.outcome
            assert outcome.action is action
            (outcome,) = await self.send()
            assert outcome.action is RELAYED
            self.cut()
            await self.relay.stop()


class TestNoDescriptors(RelayTestCase):
    async def test_mail_waits_when_no_socket_can_be_made(self):
        await self.serve(Script())
        await self.start()
        await self.turn()  # the reactor has what it needs
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with open(os.devnull) as lowest_free:
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free.fileno() + 1, hard))
            try:
                (outcome,) = await self.send()
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert (outcome.action, outcome.status) == (DELAYED, "4.4.1")
        assert "Too many open files" in outcome.text
        (outcome,) = await self.send()
        assert outcome.action is RELAYED
