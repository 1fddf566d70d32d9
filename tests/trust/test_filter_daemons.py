"""Checks that ask a daemon, against daemons that say what they are told to, also what no daemon should."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from base64 import b64decode, b64encode
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from certificates import authority
from dictionary_resolver import DictionaryResolver
from hypothesis import given
from hypothesis import strategies as st
from policy_host import PolicyHost
from scripted_daemon import DROP, HANG, MESSAGE, DaemonCase, incoming
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.ssl import trustRootFromCertificates
from twisted.internet.task import Clock

from twisted_mta.message.content import Content
from twisted_mta.protocol.milter.options import Steps
from twisted_mta.protocol.milter.packets import numbers, packet
from twisted_mta.trust.filters import daemon as daemon_module
from twisted_mta.trust.filters.clamav import ClamAv
from twisted_mta.trust.filters.daemon import Daemon, Place
from twisted_mta.trust.filters.filtering import FilterRules
from twisted_mta.trust.filters.http_hook import HttpHook
from twisted_mta.trust.filters.milter import Milter
from twisted_mta.trust.filters.rspamd import Rspamd
from twisted_mta.trust.filters.spamd import Spamd
from twisted_mta.trust.filters.unavailable import Unavailable
from twisted_mta.trust.finding import Finding

OURS = {"hostname": "mx.here.test", "reactor": reactor}


def http(content, *fields):
    if not isinstance(content, bytes):
        content = json.dumps(content).encode()
    head = "".join(
        f"{field}\r\n" for field in ("HTTP/1.1 200 OK", *fields, f"Content-Length: {len(content)}")
    )
    return head.encode() + b"\r\n" + content


def clean(verdict):
    """What it wants to be added is whole fields, and what it wants to be said one line."""
    assert re.fullmatch(rb"(?:[!-9;-~]+: [^\r\n]*\r\n(?:\t[^\r\n]+\r\n)*)*", verdict.fields)
    assert all(len(line) < 999 for line in verdict.fields.split(b"\r\n"))
    if verdict.error is not None:
        assert re.fullmatch(r"[45]\d\d [45]\.\d+\.\d+ [\x20-\x7e]+", str(verdict.error))
        assert verdict.error.permanent is (verdict.action == "reject")
        assert verdict.error.code != 421
    assert (verdict.error is not None) is (verdict.action in ("reject", "defer"))
    assert -1000 <= verdict.score <= 1000
    return verdict


class TestRspamd(DaemonCase):
    def check(self, *answers, **rules):
        self.served = self.serve(*answers, whole=b"Hello\r\n")
        return Rspamd(self.daemon(self.served), self.rules(**rules), **OURS)

    async def test_what_it_is_told(self):
        await self.judge(self.check(http({"action": "no action"})))
        head, _, content = bytes(self.served.asked[0]).partition(b"\r\n\r\n")
        assert head.decode().split("\r\n") == [
            "POST /checkv2 HTTP/1.1",
            f"Host: 127.0.0.1:{self.served.port}",
            "IP: 192.0.2.7",
            "Hostname: mail.far.test",
            "Helo: far.test",
            "From: ann@far.test",
            "Rcpt: bob@here.test",
            "Queue-Id: Q1",
            "MTA-Name: mx.here.test",
            "TLS-Version: TLSv1.3",
            "TLS-Cipher: TLS_AES_256_GCM_SHA384",
            f"Content-Length: {len(MESSAGE)}",
        ]
        assert content == MESSAGE

    async def test_the_null_path(self):
        await self.judge(self.check(http({"action": "no action"})), reverse_path=None, name="", tls="")
        asked = bytes(self.served.asked[0])
        assert b"\r\nFrom: <>\r\n" in asked
        assert b"Hostname" not in asked

    async def test_real_answers(self):
        """Recorded of rspamd 3.4."""
        gtube = (
            b'{"is_skipped":true,"score":15.0,"required_score":15.0,"action":"reject","symbols":{"GTUBE":'
            b'{"name":"GTUBE","score":0.0,"metric_score":0.0}},"messages":{"smtp_message":"Gtube pattern"},'
            b'"message-id":"undef","time_real":0.000289}'
        )
        spam = (
            b'{"is_skipped":false,"score":11.500000,"required_score":15.0,"action":"add header","symbols":'
            b'{"ARC_NA":{"name":"ARC_NA","score":0.0,"metric_score":0.0,"description":"absent"},'
            b'"MISSING_MID":{"name":"MISSING_MID","score":2.500000,"metric_score":2.500000},"MIME_GOOD":'
            b'{"name":"MIME_GOOD","score":-0.100000,"metric_score":-0.100000,"options":["text/plain"]}},'
            b'"messages":{},"message-id":"undef","time_real":0.002938,"milter":{"remove_headers":{"X-Spam":0}}}'
        )
        close = "Connection: close"
        check = self.check(http(gtube, close), http(spam, close))
        verdict = clean(await self.judge(check))
        assert (verdict.action, str(verdict.error)) == ("reject", "550 5.7.1 Gtube pattern")
        verdict = clean(await self.judge(check))
        assert (verdict.action, verdict.score) == ("junk", 11.5)
        assert verdict.findings == [
            Finding(
                "x-rspamd",
                "add-header",
                {
                    "policy.score": "11.50",
                    "policy.required": "15.00",
                    "policy.symbols": "MISSING_MID(2.5),MIME_GOOD(-0.1)",
                },
            )
        ]

    async def test_a_connection_is_kept_and_made_anew(self):
        fine = http({"action": "no action"})
        check = self.check([fine, fine, DROP], fine)
        for _ in range(3):
            assert (await self.judge(check)).action == "accept"
        assert len(self.served.asked) == 2  # the third was asked in vain on the first connection
        assert bytes(self.served.asked[0]).count(b"POST") == 3

    async def test_when_it_is_down(self):
        check = self.check(DROP)
        verdict = clean(await self.judge(check))
        assert (verdict.action, verdict.findings[0].result) == ("accept", "temperror")
        assert "the answer is incomplete" in verdict.why
        verdict = clean(await self.judge(self.check(DROP, when_down="defer")))
        assert (verdict.action, verdict.error.code) == ("defer", 451)

    async def test_no_error_is_raised_twice(self):
        """It would hold on to whatever it has passed, for each message more."""
        check = self.check(DROP, when_down="defer")
        errors = [check.otherwise.error, check.otherwise.error]
        assert errors[0] is not errors[1] and errors[0].code == errors[1].code == 451

    async def test_a_large_message_is_not_shown(self):
        check = self.check(DROP, largest=len(MESSAGE) - 1)
        verdict = clean(await self.judge(check))
        assert (verdict.action, verdict.findings[0].reason) == ("accept", "too large")
        assert self.served.asked == []


@pytest.mark.parametrize(
    ("answer", "action", "error"),
    [
        ({"action": "soft reject"}, "defer", "451 4.7.1 Try again later"),
        (
            {"action": "reject", "messages": {"smtp_message": "554 5.7.1 No\r\nmore"}},
            "reject",
            "554 5.7.1 No more",
        ),
        (
            {"action": "reject", "messages": {"smtp_message": "250 2.0.0 x"}},
            "reject",
            "550 5.7.1 250 2.0.0 x",
        ),
        ({"action": "reject", "messages": []}, "reject", "550 5.7.1 Message is refused as spam"),
        ({"action": "rewrite subject", "subject": "x"}, "junk", None),
        ({"action": "discard"}, "junk", None),
        ({"action": "greylist", "score": 4}, "accept", None),
        ({"action": "of a later version"}, "accept", None),
        ({"action": "no action", "score": True, "symbols": [], "milter": []}, "accept", None),
        ({"action": "no action", "score": 10**400, "symbols": {"A": 1, "B": {"score": "x"}}}, "accept", None),
    ],
)
def test_rspamd_actions(answer, action, error):
    check = Rspamd(_nowhere(), FilterRules(), **OURS)
    verdict = clean(check.verdict(json.dumps(answer).encode()))
    assert verdict.action == action
    assert (str(verdict.error) if verdict.error else None) == error


def test_rspamd_adds_fields():
    check = Rspamd(_nowhere(), FilterRules(weight=0), **OURS)
    wanted = {
        "X-Spam": "Yes",
        "X-Two": {"value": "a\n\tb", "order": 1},
        "X-Many": [{"value": "c"}, "d\r\nEvil: e", 5, {"value": 6}],
        "Received": "from nowhere",
    }
    verdict = check.verdict(
        json.dumps({"action": "add header", "score": 7, "milter": {"add_headers": wanted}}).encode()
    )
    assert verdict.fields == b"X-Spam: Yes\r\nX-Two: a\r\n\tb\r\nX-Many: c\r\nX-Many: d\r\n\tEvil: e\r\n"
    assert verdict.score == 0
    for bad in ({"X: y\r\nZ": "a"}, {"": "a"}, {"X" * 100: "a"}, {"X": ["a"] * 51}, {"X": "a" * 40_000}):
        with pytest.raises(Unavailable):
            check.verdict(json.dumps({"action": "no action", "milter": {"add_headers": bad}}).encode())


class TestClamAv(DaemonCase):
    def check(self, *answers, last=b"Hello\r\n", **settings):
        self.served = self.serve(*answers, whole=last + b"\0\0\0\0")
        return ClamAv(self.daemon(self.served), self.rules(when_down="defer"), reactor=reactor, **settings)

    async def test_a_session_for_many(self):
        check = self.check([b"1: stream: OK\0", b"2: stream: Eicar FOUND\0", b"3: stream: OK\0", HANG])
        actions = [clean(await self.judge(check)).action for _ in range(3)]
        assert actions == ["accept", "reject", "accept"]
        (asked,) = self.served.asked
        once = b"zINSTREAM\0" + len(MESSAGE).to_bytes(4) + MESSAGE + b"\0\0\0\0"
        assert bytes(asked) == b"zIDSESSION\0" + 3 * once

    async def test_the_name_of_a_virus(self):
        check = self.check(b"1: stream: Evil\r\n\x1b[31m.UNOFFICIAL FOUND\0")
        verdict = clean(await self.judge(check))
        assert str(verdict.error) == "554 5.7.0 Message holds a virus: Evil ?[31m.UNOFFICIAL"

    async def test_more_than_it_takes(self):
        """It says so and closes before the end."""
        self.served = self.serve(b"INSTREAM size limit exceeded. ERROR\0", whole=b"zINSTREAM\0")
        large = MESSAGE + b"x" * 3_000_000
        check = ClamAv(self.daemon(self.served), self.rules(), reactor=reactor)
        verdict = clean(await self.judge(check, large))
        assert (verdict.action, verdict.findings[0].reason) == ("accept", "too large")
        check = ClamAv(self.daemon(self.served), self.rules(), when_too_large="reject", reactor=reactor)
        verdict = clean(await self.judge(check, large))
        assert str(verdict.error) == "552 5.3.4 Message is too large to be looked at for viruses"

    async def test_an_error(self):
        verdict = clean(await self.judge(self.check(b"1: Can't allocate memory ERROR\0")))
        assert (verdict.action, verdict.findings[0].result) == ("defer", "temperror")
        assert "Can't allocate memory" in verdict.why

    async def test_no_end_and_no_answer(self):
        for answer in (b"x" * 5000, b"", DROP):
            assert clean(await self.judge(self.check(answer))).action == "defer"

    async def test_from_a_file(self):
        path = Path(self.enterContext(TemporaryDirectory())) / "body"
        path.write_bytes(MESSAGE + b"y" * 2_500_000)
        check = self.check(b"1: stream: OK\0", last=b"yyyy")
        await self.judge(check, content=Content(b"Head: x\r\n", path=path))
        asked = bytes(self.served.asked[0]).removeprefix(b"zIDSESSION\0zINSTREAM\0")
        told = b""
        while length := int.from_bytes(asked[:4]):
            told, asked = told + asked[4 : 4 + length], asked[4 + length :]
        assert told == b"Head: x\r\n" + path.read_bytes()


class TestSpamd(DaemonCase):
    def check(self, *answers, **settings):
        self.served = self.serve(*answers, whole=b"Hello\r\n")
        return Spamd(self.daemon(self.served), self.rules(), **OURS, **settings)

    async def test_spam(self):
        """As spamd 4.0.1 answers."""
        answer = (
            b"SPAMD/1.1 0 EX_OK\r\nContent-length: 19\r\nSpam: True ; 15.5 / 5.0\r\n\r\nGTUBE,MSGID_SHORT\r\n"
        )
        verdict = clean(await self.judge(self.check(answer, user="mail")))
        assert (verdict.action, verdict.score) == ("junk", 15.5)
        assert verdict.why == "SpamAssassin: 15.50 points, GTUBE,MSGID_SHORT"
        head, _, content = bytes(self.served.asked[0]).partition(b"\r\n\r\n")
        assert head == b"SYMBOLS SPAMC/1.5\r\nContent-length: %d\r\nUser: mail" % len(content)
        front = content.removesuffix(MESSAGE)
        assert front.startswith(
            b"Return-Path: <ann@far.test>\r\nReceived: from far.test (mail.far.test [192.0.2.7])"
        )
        assert front.count(b"\r\n\r\n") == 0

    async def test_no_spam(self):
        verdict = clean(
            await self.judge(self.check(b"SPAMD/1.1 0 EX_OK\r\nSpam: False ; -1.5 / 5.0\r\n\r\n"))
        )
        assert (verdict.action, verdict.score, verdict.why) == ("accept", -1.5, "")

    async def test_no_answer_of_spamd(self):
        for answer in (
            b"",
            b"SPAMD/1.0 76 Bad header line: x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"SPAMD/1.1 0 EX_OK\r\n\r\nSpam: True ; 9 / 5\r\n",
            b"SPAMD/1.1 0 EX_OK\r\nSpam: True ; x / 5\r\n\r\n",
            b"x" * 70_000,
        ):
            assert (await self.judge(self.check(answer))).findings[0].result == "temperror"


class TestHook(DaemonCase):
    def check(self, *answers, **settings):
        self.served = self.serve(*answers, whole=b'"version"')
        return HttpHook(self.daemon(self.served), self.rules(), target="/mail?x=1", **OURS, **settings)

    async def test_the_question(self):
        facts = {"findings": (Finding("spf", "pass", {"smtp.mailfrom": "far.test"}, "why"),)}
        await self.judge(self.check(http({"action": "accept"}), secret=b"secret", with_content=True), **facts)
        head, _, content = bytes(self.served.asked[0]).partition(b"\r\n\r\n")
        assert head.startswith(b"POST /mail?x=1 HTTP/1.1\r\n")
        seconds, digest = re.search(rb"Mta-Signature: t=(\d+),v1=([0-9a-f]{64})\r\n", head).groups()
        assert hmac.new(b"secret", seconds + b"." + content, hashlib.sha256).hexdigest() == digest.decode()
        assert json.loads(content) == {
            "version": 1,
            "hostname": "mx.here.test",
            "queue_id": "Q1",
            "client": {
                "address": "192.0.2.7",
                "name": "mail.far.test",
                "reverse": "pass",
                "helo": "far.test",
                "tls": "TLSv1.3 TLS_AES_256_GCM_SHA384",
            },
            "envelope": {
                "reverse_path": "ann@far.test",
                "forward_paths": ["bob@here.test"],
                "body": "7BIT",
                "smtputf8": False,
            },
            "size": len(MESSAGE),
            "header": [
                ["From", "ann@far.test"],
                ["To", "bob@here.test"],
                ["Date", "Mon, 23 Nov 2026 07:00:00 +0000"],
                ["Message-ID", "<1@far.test>"],
                ["Subject", "a\tb"],
            ],
            "header_truncated": False,
            "findings": [
                {
                    "method": "spf",
                    "result": "pass",
                    "properties": {"smtp.mailfrom": "far.test"},
                    "reason": "why",
                }
            ],
            "content": b64encode(MESSAGE).decode(),
        }

    async def test_answers(self):
        answers = {
            "accept": {"action": "accept", "score": 1.5, "fields": [["X-Seen", "yes"]], "later": 1},
            "allow": {"action": "allow"},
            "junk": {"action": "junk", "why": "I say so"},
            "defer": {"action": "defer", "reply": "450 4.2.1 Tomorrow"},
            "reject": {"action": "reject", "reply": "Nö\r\n250 yes"},
        }
        verdicts = {}
        for action, answer in answers.items():
            verdicts[action] = verdict = clean(await self.judge(self.check(http(answer))))
            assert verdict.action == action
            assert verdict.findings[0].method == "x-hook"
        assert (verdicts["accept"].score, verdicts["accept"].fields) == (1.5, b"X-Seen: yes\r\n")
        assert verdicts["junk"].why == "I say so"
        assert str(verdicts["defer"].error) == "450 4.2.1 Tomorrow"
        assert str(verdicts["reject"].error) == "550 5.7.1 N? 250 yes"

    async def test_no_answers(self):
        for answer in (
            http({}),
            http({"action": "explode"}),
            http({"action": "accept", "fields": [["X"]]}),
            http(b"[]"),
            http(b"{"),
            http(b"[" * 10_000),
            b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n",
            http(b"x" * 70_000),
            b"hello\r\n\r\n",
        ):
            assert (await self.judge(self.check(answer))).findings[0].result == "temperror"

    async def test_a_header_without_end(self):
        check = self.check(http({"action": "accept"}))
        many = b"".join(b"X-%d: y\r\n" % n for n in range(600)) + b"\r\n"
        await self.judge(check, many)
        asked = json.loads(bytes(self.served.asked[0]).partition(b"\r\n\r\n")[2])
        assert (len(asked["header"]), asked["header_truncated"]) == (500, True)


class TestHookOverHttps(DaemonCase):
    """Against a real web server, Twisted's."""

    def check(self, name="hook.test", **settings):
        self.host = PolicyHost("hook.test", **settings)
        self.addCleanup(self.host.close)
        self.host.media_type = "application/json"
        place = Place(
            name, self.host.port, tls=True, authorities=trustRootFromCertificates([authority().certificate])
        )
        resolver = DictionaryResolver(hosts={"hook.test": ["127.0.0.1"], "other.test": ["127.0.0.1"]})
        daemon = Daemon(place, name="hook", seconds=20, reactor=reactor, resolver=resolver)
        self.addCleanup(daemon.close)
        return HttpHook(daemon, self.rules(), target="/mail", with_content=True, **OURS)

    async def test_asked_and_kept(self):
        check = self.check(body=b'{"action": "junk", "why": "web"}')
        for _ in range(3):
            verdict = clean(await self.judge(check, MESSAGE + b"x" * 300_000))
            assert (verdict.action, verdict.why) == ("junk", "web")
        (method, path, asked), *_ = self.host.requests
        assert (method, path) == ("POST", "/mail")
        assert b64decode(json.loads(asked)["content"]) == MESSAGE + b"x" * 300_000
        assert len(self.host.requests) == 3

    async def test_contents_of_every_length(self):
        check = self.check(body=b'{"action": "accept"}')
        for extra in range(4):
            await self.judge(check, content=Content(b"H" * extra, MESSAGE))
            _, _, asked = self.host.requests[-1]
            assert b64decode(json.loads(asked)["content"], validate=True) == b"H" * extra + MESSAGE

    async def test_a_certificate_for_another_name(self):
        verdict = await self.judge(self.check("other.test", body=b'{"action": "accept"}'))
        assert "no certificate that could be believed" in verdict.why
        assert self.host.requests == []

    async def test_a_name_that_does_not_exist(self):
        verdict = await self.judge(self.check("gone.test"))
        assert "the name has no address" in verdict.why


class TestMilter(DaemonCase):
    """The dialog itself is the engine's; here is what becomes of a filter's word."""

    NOTHING = 0x7F | Steps.NO_DATA

    def check(self, answer, actions=0, **settings):
        agreement = packet(b"O", numbers((6, actions, self.NOTHING)))
        self.served = self.serve([agreement, answer])
        return Milter("mill", self.daemon(self.served), self.rules(), **OURS, **settings)

    async def test_decisions(self):
        verdict = clean(await self.judge(self.check(packet(b"y", b"554 5.7.1 No\r\n%%\0"))))
        assert str(verdict.error) == "554 5.7.1 No %"
        assert clean(await self.judge(self.check(packet(b"t")))).action == "defer"
        assert clean(await self.judge(self.check(packet(b"d")))).action == "junk"
        assert clean(await self.judge(self.check(packet(b"a")))).findings == [Finding("x-mill", "pass")]

    async def test_added_fields_and_quarantine(self):
        added = packet(b"i", numbers((0,)) + b"X-A\0b\n\tc\0") + packet(b"h", b"X-D\0\xff\x01\0")
        verdict = clean(await self.judge(self.check(added + packet(b"c"), actions=1)))
        assert (verdict.action, verdict.fields) == ("accept", b"X-A: b\r\n\tc\r\nX-D: \xff\r\n")
        verdict = clean(await self.judge(self.check(added + packet(b"q", b"odd\0") + packet(b"a"), 0x21)))
        assert (verdict.action, verdict.why) == ("junk", "mill: odd")

    async def test_changes_are_refused_or_ignored(self):
        change = packet(b"m", numbers((1,)) + b"Subject\0x\0") + packet(b"c")
        verdict = await self.judge(self.check(change, actions=0x10))
        assert "insists on what it may not do here: change-fields" in verdict.why
        verdict = clean(await self.judge(self.check(change, actions=0x10, ignore_changes=True)))
        assert (verdict.action, verdict.why) == ("accept", "not done: ChangeField")

    async def test_closed_at_once(self):
        self.served = self.serve(DROP)
        check = Milter("mill", self.daemon(self.served), self.rules(), **OURS)
        assert "see ignore_changes" in (await self.judge(check)).why


class TestNonsense(DaemonCase):
    """Whatever is said, and whenever the connection ends: there is a verdict."""

    ANSWERS = (
        b"",
        b"\0",
        b"\n",
        b"\0\0\0\x01c" * 50,
        packet(b"O", numbers((6, 0, 0))) + packet(b"c") * 50,
        b"HTTP/1.1 200 OK\r\n\r\n\xff{",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}",
        b"SPAMD/1.5 0 x\r\nSpam: True ;",
        b"x" * 1_000_000,
        b"\r\n" * 100_000,
    )

    async def test_all_of_them(self):
        for answer in self.ANSWERS:
            for whole in (b"", b"Hello\r\n"):
                served = self.serve(answer, whole=whole)
                rspamd, clamav, spamd, hook, mill = (self.daemon(served, seconds=1) for _ in range(5))
                for check in (
                    Rspamd(rspamd, self.rules(), **OURS),
                    ClamAv(clamav, self.rules(), reactor=reactor),
                    Spamd(spamd, self.rules(), **OURS),
                    HttpHook(hook, self.rules(), target="/", **OURS),
                    Milter("mill", mill, self.rules(), **OURS),
                ):
                    served.whole = b"" if isinstance(check, HttpHook | Milter) else whole
                    assert clean(await self.judge(check)).findings[0].result == "temperror"


class TestDaemon(DaemonCase):
    """Time, turns and rests."""

    async def test_no_answer(self):
        check = Rspamd(self.daemon(self.serve(HANG), seconds=0.05), self.rules(), **OURS)
        assert "has not answered in 0.05 seconds" in (await self.judge(check)).why
        assert check.seconds > check.daemon.seconds

    async def test_nobody_there(self):
        served = self.serve(DROP)
        await served.close()
        check = Rspamd(self.daemon(served), self.rules(), **OURS)
        assert "connection refused" in (await self.judge(check)).why
        check = Rspamd(self.daemon(path="/nowhere/socket"), self.rules(), **OURS)
        assert "No such file" in (await self.judge(check)).why

    async def test_it_does_not_read(self):
        """What is not taken is not written: the message waits where it is."""
        served = self.serve(HANG)
        served.buildProtocol = lambda addr, build=served.buildProtocol: _deaf(build(addr))
        check = ClamAv(self.daemon(served, seconds=0.3), self.rules(), reactor=reactor)
        verdict = await self.judge(check, MESSAGE + b"x" * 20_000_000)
        assert verdict.findings[0].result == "temperror"

    async def test_turns(self):
        self.patch(daemon_module, "MOST_ASKED", 2)
        served = self.serve(http({"action": "no action"}, "Connection: close"), whole=b"Hello\r\n")
        most = []
        build = served.buildProtocol
        served.buildProtocol = lambda addr: most.append(len(served.open)) or build(addr)
        check = Rspamd(self.daemon(served), self.rules(), **OURS)
        verdicts = await gatherResults([Deferred.fromCoroutine(check.judge(incoming())) for _ in range(9)])
        assert {verdict.findings[0].result for verdict in verdicts} == {"no-action"}
        assert max(most) <= 1


class _Asked:
    """Counts, and answers as it is told."""

    def __init__(self):
        self.count = 0
        self.answers = True

    async def dialog(self, conversation):
        self.count += 1
        if not self.answers:
            raise Unavailable("no")
        return "yes"


def test_a_daemon_that_is_down_is_not_asked_each_time():
    clock, asked = Clock(), _Asked()
    daemon = Daemon(Place("127.0.0.1", 1), name="daemon", seconds=10, reactor=clock)

    async def lead(dialog):
        return await dialog(None)

    daemon._lead = lead

    def ask():
        came = []
        Deferred.fromCoroutine(daemon.ask(asked.dialog)).addBoth(came.append)
        return came[0] if came[0] == "yes" else str(came[0].value)

    asked.answers = False
    for _ in range(daemon_module.FAILURES):
        assert ask() == "127.0.0.1:1: no"
    for _ in range(5):
        assert ask() == "127.0.0.1:1 has not answered lately"
    assert asked.count == daemon_module.FAILURES
    clock.advance(daemon_module.FIRST_REST)
    assert ask() == "127.0.0.1:1: no"  # one tries, and it rests for longer
    clock.advance(daemon_module.FIRST_REST)
    assert ask() == "127.0.0.1:1 has not answered lately"
    clock.advance(daemon_module.FIRST_REST)
    asked.answers = True
    assert [ask(), ask()] == ["yes", "yes"]
    asked.answers = False
    assert ask() == "127.0.0.1:1: no"  # one failure is none
    asked.answers = True
    assert ask() == "yes"


def test_a_useless_answer_is_no_reason_to_rest():
    """Or strangers could switch a filter off with messages that it does not understand."""
    asked = 0
    daemon = Daemon(Place("127.0.0.1", 1), name="daemon", seconds=10, reactor=Clock())

    async def lead(dialog):
        nonlocal asked
        asked += 1
        trouble = Unavailable("nonsense")
        trouble.answered = True
        raise trouble

    daemon._lead = lead
    for _ in range(3 * daemon_module.FAILURES):
        came = []
        Deferred.fromCoroutine(daemon.ask(None)).addBoth(came.append)
        assert "nonsense" in str(came[0].value)
    assert asked == 3 * daemon_module.FAILURES


def test_only_one_tries_after_a_rest():
    clock = Clock()
    daemon = Daemon(Place(path="/x"), name="daemon", seconds=10, reactor=clock)
    pending = []

    async def lead(dialog):
        pending.append(Deferred())
        return await pending[-1]

    daemon._lead = lead

    def ask():
        came = []
        Deferred.fromCoroutine(daemon.ask(None)).addBoth(came.append)
        return came

    came = [ask() for _ in range(daemon_module.FAILURES)]
    clock.advance(10)
    assert all("has not answered in 10 seconds" in str(one[0].value) for one in came)
    clock.advance(daemon_module.FIRST_REST)
    trying, other = ask(), ask()
    assert "lately" in str(other[0].value)
    pending[-1].callback("yes")
    assert trying == ["yes"]


def _deaf(protocol):
    made = protocol.connectionMade
    protocol.connectionMade = lambda: (made(), protocol.transport.pauseProducing())
    return protocol


def _nowhere():
    return Daemon(Place("127.0.0.1", 1), name="daemon", seconds=1, reactor=Clock())


CHECKS = [
    Rspamd(_nowhere(), FilterRules(), **OURS),
    ClamAv(_nowhere(), FilterRules(), reactor=reactor),
    Spamd(_nowhere(), FilterRules(), **OURS),
    HttpHook(_nowhere(), FilterRules(), target="/", **OURS),
]
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.floats(), st.integers(), st.text(max_size=20)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)
rspamd_answers = st.fixed_dictionaries(
    {"action": st.one_of(st.sampled_from(["reject", "soft reject", "add header", "no action"]), json_values)},
    optional={
        "score": json_values,
        "symbols": st.dictionaries(st.text(max_size=8), json_values, max_size=3),
        "messages": st.one_of(json_values, st.fixed_dictionaries({"smtp_message": json_values})),
        "milter": st.one_of(json_values, st.fixed_dictionaries({"add_headers": json_values})),
    },
)
hook_answers = st.fixed_dictionaries(
    {"action": st.sampled_from(["accept", "allow", "junk", "defer", "reject"])},
    optional={
        "reply": st.text(max_size=30),
        "why": st.text(max_size=30),
        "score": st.floats(),
        "fields": st.lists(st.tuples(st.text(max_size=8), st.text(max_size=30)), max_size=3),
    },
)
octets = st.one_of(
    st.binary(max_size=60),
    st.builds(lambda value: json.dumps(value).encode(), st.one_of(rspamd_answers, hook_answers)),
    st.builds(b"1: stream: %b FOUND".__mod__, st.binary(max_size=30)),
    st.builds(
        b"SPAMD/1.1 0 EX_OK\r\nSpam: True ; %b / 5\r\n\r\n%b".__mod__,
        st.tuples(st.sampled_from([b"1", b"-999999.9", b"1e9"]), st.binary(max_size=30)),
    ),
)


@given(octets)
def test_no_answer_of_a_daemon_raises(answer):
    for check in CHECKS:
        try:
            verdict = check.verdict(answer)
        except Unavailable as error:
            assert str(error).isprintable()
        else:
            clean(verdict)
