"""`mta trace` and MTQP beside a running server: the whole story of a message, in and out."""

from __future__ import annotations

import base64
import email
import hashlib
import json
import smtplib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from line_client import LineClient
from mail_reader import untrusting
from office import PASSWORD, Office, running_office

from twisted_mta.journey.database import JourneyReader
from twisted_mta.journey.story import stories_of, story
from twisted_mta.journey.words import lines

SECRET = b"a secret of sixteen octets or so"
CERTIFIER = base64.b64encode(hashlib.sha1(SECRET).digest()).decode()


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    with running_office(tmp_path_factory.mktemp("office")) as office:
        assert office.process.mta("alias", "add", "team@a.test", "alice@a.test", "bob@a.test").returncode == 0
        yield office


def send(office: Office, sender: str, *to: str, name: str = "1@a.test", options: tuple[str, ...] = ()) -> str:
    """From a stranger; the queue id."""
    with smtplib.SMTP("127.0.0.1", office.ports["smtp"], timeout=60) as client:
        client.ehlo("b.test")
        client.mail(sender, options)
        for path in to:
            code, said = client.rcpt(path)
            assert code == 250, said
        message = f"From: {sender}\r\nMessage-ID: <{name}>\r\nSubject: x\r\n\r\ny\r\n"
        code, said = client.data(message.encode())
        assert code == 250, said
    return said.decode().rpartition(" ")[2]


def trace(office: Office, *arguments: str, until: str, logged: str) -> str:
    """What `mta trace` prints, once the server has logged `logged`, and has written `until`, which it does
    within a second after that."""
    office.process.wait_for(logged)
    path = office.process.directory / "data" / "journey.sqlite"
    office.process.eventually(lambda: _is_told(path, arguments[0], until))
    done = office.process.mta("trace", *arguments)
    assert until in done.stdout, done
    return done.stdout


def _is_told(path: Path, what: str, until: str) -> bool:
    reader = JourneyReader(path)
    try:
        told = stories_of(reader, what, 0.0, 10) if "@" in what else [story(reader, what.upper())]
        found = [each for each in told if each is not None]
        stages = [f'"{event.stage}"' for each in found for event in each.events]
        return until in "\n".join([*stages, *(line for each in found for line in lines(each))])
    finally:
        reader.close()


def test_a_message_from_outside(office: Office) -> None:
    queue_id = send(office, "x@b.test", "bob@a.test", name="in@b.test")
    told = trace(office, queue_id, until="done", logged=f"{queue_id}: done")
    lines = [line.split("  ")[-1].strip() for line in told.splitlines()]
    assert lines[0] == queue_id
    assert lines[1].startswith("accepted from 127.0.0.1: from <x@b.test> to bob@a.test, ")
    assert lines[1].endswith("octets, Message-ID <in@b.test>")
    assert lines[2:] == [
        "delivered to bob@a.test: mailbox INBOX of bob@a.test",
        "done: nothing more to do for it",
    ]


def test_an_alias_and_whoever_asks_by_address(office: Office) -> None:
    queue_id = send(office, "y@b.test", "team@a.test", name="Alias@b.test")
    told = trace(office, queue_id.lower(), until="done", logged=f"{queue_id}: done")
    assert "team@a.test is an alias for alice@a.test, bob@a.test" in told
    for handle in ("TEAM@a.test", "<alias@b.test>"):
        assert queue_id in trace(office, handle, until=queue_id, logged=f"{queue_id}: done")
    assert office.process.mta("trace", "y@b.test", "--since", "2037-01-01").returncode == 1


def test_a_message_that_leaves_and_one_that_is_given_back(office: Office) -> None:
    with smtplib.SMTP("127.0.0.1", office.ports["submission"], timeout=60) as client:
        client.starttls(context=untrusting())
        client.login("alice@a.test", PASSWORD)
        client.sendmail("alice@a.test", ["cy@far.test"], b"From: alice@a.test\r\n\r\nhello\r\n")
    stories = json.loads(
        trace(office, "cy@far.test", "--json", until='"deferred"', logged=": deferred to=cy@far.test")
    )
    (told,) = stories
    stages = [event["stage"] for event in told["events"]]
    assert stages[:2] == ["accepted", "trying"]
    assert stages[-1] == "deferred"
    accepted, deferred = told["events"][0], told["events"][-1]
    assert accepted["account"] == "alice@a.test"
    assert accepted["tls"].startswith("TLS")
    assert accepted["message_id"].endswith("@mx.a.test>")  # ours: it had none
    assert PASSWORD not in json.dumps(stories)
    assert deferred["reason"]

    assert office.process.mta("queue", "bounce", told["queue_id"]).returncode == 0
    queue_id = told["queue_id"]
    (told,) = json.loads(trace(office, queue_id, "--json", until='"done"', logged=f"{queue_id}: done"))
    assert [event["stage"] for event in told["events"]][-3:] == ["returned", "bounced", "done"]
    (child,) = told["children"]
    assert child["parent"] == told["queue_id"]
    report = child["queue_id"]
    (child,) = json.loads(trace(office, report, "--json", until='"done"', logged=f"{report}: done"))
    assert [event["stage"] for event in child["events"]] == ["report", "delivered", "done"]
    readable = trace(office, queue_id, until="a report about", logged=f"{report}: done")
    assert "to be given back, by hand" in readable


def test_a_refusal_before_there_was_a_message(office: Office) -> None:
    with LineClient(office.ports["smtp"]) as client:
        client.reply()
        client.say(b"EHLO b.test")
        client.say(b"MAIL FROM:<z@b.test>")
        assert client.say(b"RCPT TO:<nobody@a.test>").startswith(b"550")
    told = trace(office, "nobody@a.test", until="refused", logged="nobody@a.test")
    assert "refused to take it from 127.0.0.1: from <z@b.test> to <nobody@a.test>; said: 550 5.1.1" in told


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["0000000000000"], "nothing is known of 0000000000000"),
        (["nobody@b.test"], "nothing is known of nobody@b.test"),
        (["what"], "what is neither a queue id, an address nor a Message-ID"),
    ],
)
def test_what_is_not_known(office: Office, arguments: list[str], words: str) -> None:
    done = office.process.mta("trace", *arguments)
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def query(office: Office, envid: str, secret: bytes, *, tls: bool = True) -> list[bytes]:
    with LineClient(office.ports["mtqp"]) as client:
        assert client.until(b".")[0].startswith(b"+OK+/MTQP mx.a.test")
        if tls:
            client.send(b"STARTTLS\r\n")
            assert client.line().startswith(b"+OK")
            client.start_tls()
        client.send(f"TRACK {envid} ".encode() + base64.b64encode(secret) + b"\r\n")
        first = client.line()
        return [first, *(client.until(b".\r\n") if first.startswith(b"+OK+") else [])]


def test_senders_track_their_mail_with_the_secret(office: Office) -> None:
    options = (f"MTRK={CERTIFIER}", "ENVID=77@b.test")
    queue_id = send(office, "x@b.test", "bob@a.test", "team@a.test", options=options)
    told = trace(office, queue_id, until="done", logged=f"{queue_id}: done")
    assert CERTIFIER not in told
    for tls in (True, False):
        first, *lines = query(office, "77@b.test", SECRET, tls=tls)
        assert first.startswith(b"+OK+ ")
        whole = email.message_from_bytes(b"\r\n".join(lines))
        assert whole.get_content_type() == "multipart/related"
        (part,) = _parts(whole)
        blocks = [dict(email.message_from_string(block)) for block in part.split("\n\n") if block.strip()]
        assert blocks[0]["Original-Envelope-Id"] == "77@b.test"
        assert [(block["Final-Recipient"], block["Action"]) for block in blocks[1:]] == [
            ("rfc822; bob@a.test", "delivered"),
            ("rfc822; team@a.test", "expanded"),
        ]
    assert query(office, "77@b.test", b"wrong")[0].startswith(b"-ERR ")
    assert query(office, "78@b.test", SECRET)[0].startswith(b"-ERR ")
    assert CERTIFIER not in office.process.log_text()


def _parts(whole: Any) -> list[str]:
    parts = whole.get_payload()
    assert {part.get_content_type() for part in parts} == {"message/tracking-status"}
    return ["\n".join(part.as_bytes().decode().splitlines()[2:]) for part in parts]


def test_the_story_survives_a_restart(tmp_path: Path) -> None:
    with running_office(tmp_path) as office:
        queue_id = send(office, "x@b.test", "bob@a.test")
        office.process.wait_for(f"{queue_id}: done")
        office.process.terminate()  # what was told in the last moment is written
        assert "done" in office.process.mta("trace", queue_id).stdout
        office.process.start()
        assert "done" in office.process.mta("trace", queue_id).stdout


def test_a_server_that_keeps_nothing(tmp_path: Path) -> None:
    with running_office(tmp_path, "mtqp", journey={"keep": 0}) as office:
        queue_id = send(office, "x@b.test", "bob@a.test")
        office.process.wait_for(f"{queue_id}: done")
        assert "nothing has been recorded" in office.process.mta("trace", queue_id).stderr
        assert not (tmp_path / "data" / "journey.sqlite").exists()
