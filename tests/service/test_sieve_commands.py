"""`mta sieve …`: checking, trying and putting scripts in place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from office import Office

SCRIPT = """require ["fileinto", "mailbox", "imap4flags", "vacation"];
if header :contains "subject" "invoice" { fileinto :create :flags "\\\\Flagged" "Bills"; }
elsif address :is "from" "spam@far.test" { discard; }
else { vacation :days 3 "Away"; keep; }
"""


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


def mta(office: Office, *arguments: str) -> str:
    done = office.process.mta("sieve", *arguments)
    return done.stdout if done.returncode == 0 else done.stderr


def test_a_script_is_checked_tried_and_used(office: Office, tmp_path: Path) -> None:
    script, message = tmp_path / "rules.sieve", tmp_path / "message"
    script.write_text(SCRIPT)
    message.write_bytes(
        b"From: Shop <shop@far.test>\r\nTo: alice@a.test\r\nSubject: Your invoice\r\n\r\nPay\r\n"
    )
    assert "a valid script" in mta(office, "check", str(script))
    told = mta(office, "test", str(script), str(message))
    assert told == 'put it into "Bills", which is made if need be, flagged \\Flagged\n'
    message.write_bytes(b"From: friend@far.test\r\nTo: alice@a.test\r\nSubject: hi\r\n\r\n")
    told = mta(office, "test", str(script), str(message))
    assert told == "answer that the owner is away, once in 3 days\nkeep it in the INBOX\n"
    mta(office, "put", "alice@a.test", "my rules", str(script), "--activate")
    assert mta(office, "list", "alice@a.test") == "* my rules\n"
    assert mta(office, "show", "alice@a.test", "my rules") == SCRIPT
    mta(office, "deactivate", "alice@a.test")
    mta(office, "remove", "alice@a.test", "my rules")
    assert "no scripts" in mta(office, "list", "alice@a.test")


def test_an_error_has_its_place(office: Office, tmp_path: Path) -> None:
    script = tmp_path / "rules.sieve"
    script.write_text("keep;\nfileinto 5;\n")
    assert 'rules.sieve:2:1: the command "fileinto" needs' in mta(office, "check", str(script))
    script.write_text("keep;\n" * 10_001)
    assert "rules.sieve:10001:1: a script may have 10,000 commands" in mta(office, "check", str(script))


def test_what_a_script_sends_and_includes_is_told(office: Office, tmp_path: Path) -> None:
    script, message = tmp_path / "rules.sieve", tmp_path / "message"
    script.write_text(
        """require ["include", "enotify", "fcc", "mailbox", "ihave", "vacation"];
        if ihave "vnd.nobody" { enchant; }
        notify :fcc "Told" :create :message "It is here" "mailto:bob@far.test?cc=eve@far.test";
        vacation :fcc "Sent" "Away";
        include "more";
        """
    )
    (tmp_path / "more.sieve").write_text("discard;")
    message.write_bytes(b"From: friend@far.test\r\nTo: alice@a.test\r\n\r\n")
    checked = mta(office, "check", str(script))
    assert 'rules.sieve:2:33: an error, should a run come here: there is no command "enchant"' in checked
    assert mta(office, "test", str(script), str(message)) == (
        "tell bob@far.test, eve@far.test by mail: It is here; "
        'a copy of that goes into "Told", which is made if need be\n'
        'answer that the owner is away, once in 7 days; a copy of that goes into "Sent"\n'
        "throw it away\n"
    )


def test_nothing_gives_the_terminal_orders(office: Office, tmp_path: Path) -> None:
    script, message = tmp_path / "rules.sieve", tmp_path / "message"
    script.write_text('require "fileinto"; fileinto "a\x1b[2Jb";')
    message.write_bytes(b"Subject: x\r\n\r\n")
    assert mta(office, "test", str(script), str(message)) == 'put it into "a?[2Jb"\n'


def test_a_group_without_a_command_names_its_commands(office: Office) -> None:
    assert "{check,test,list" in mta(office)


def test_a_changed_message_is_shown(office: Office, tmp_path: Path) -> None:
    script, message = tmp_path / "rules.sieve", tmp_path / "message"
    script.write_text('require "replace"; replace :subject "Gone" "Nothing left";')
    message.write_bytes(b"From: friend@far.test\r\nSubject: hi\r\n\r\nsecret\r\n")
    told = mta(office, "test", str(script), str(message))
    assert told.startswith(
        "keep it in the INBOX\nthe header is changed; it would be:\n  From: friend@far.test\n"
    )
    assert "  Original-Subject: hi\n  Subject: Gone\n" in told
    assert told.endswith("and the body:\nNothing left\n")


def test_as_json(office: Office, tmp_path: Path) -> None:
    script = tmp_path / "rules.sieve"
    script.write_text('require "fileinto"; fileinto "Work";')
    checked = json.loads(mta(office, "check", str(script), "--json"))
    assert checked == {"extensions": ["fileinto"], "doubts": []}
    assert json.loads(mta(office, "list", "alice@a.test", "--json")) == []
    mta(office, "put", "alice@a.test", "work", str(script), "--activate")
    assert json.loads(mta(office, "list", "alice@a.test", "--json")) == [{"name": "work", "active": True}]
    told = json.loads(mta(office, "show", "alice@a.test", "work", "--json"))
    assert told == {"name": "work", "active": True, "script": script.read_text()}


def test_what_a_script_would_do_as_json(office: Office, tmp_path: Path) -> None:
    script, message = tmp_path / "rules.sieve", tmp_path / "message"
    message.write_bytes(b"From: friend@far.test\r\nSubject: hi\r\n\r\ns\xe9cret\r\n")

    def tried(text: str) -> object:
        script.write_text(text)
        return json.loads(mta(office, "test", str(script), str(message), "--json"))

    assert tried(
        'require ["fileinto", "mailbox", "special-use"]; fileinto :create :specialuse "\\\\Junk" "Bad";'
    ) == {
        "error": None,
        "actions": [
            {
                "action": "fileinto",
                "mailbox": "Bad",
                "flags": [],
                "modifiers": {"create": 1, "specialuse": "\\Junk"},
            }
        ],
        "message": None,
    }
    kept = {"action": "keep", "flags": [], "implicit": True}
    changed = tried('require "editheader"; deleteheader "From"; addheader "X-Seen" "yes";')
    assert changed == {
        "error": None,
        "actions": [kept],
        "message": "X-Seen: yes\r\nSubject: hi\r\n\r\ns\ufffdcret\r\n",
    }
    failed = tried('require "vacation"; vacation "Away";\nvacation "Gone";')
    assert failed == {
        "error": {"line": 2, "text": "one answer is enough"},
        "actions": [kept],
        "message": None,
    }
    answered = tried('require "vacation"; vacation :days 3 "Away";')
    assert isinstance(answered, dict) and answered["actions"][0]["action"] == "vacation"
