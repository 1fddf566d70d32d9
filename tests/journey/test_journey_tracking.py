"""What a sender with the secret is told of a message, from its events (RFC 3885, RFC 3886)."""

from __future__ import annotations

from pathlib import Path

import pytest

from twisted_mta.journey.database import Event, JourneyDatabase
from twisted_mta.journey.store import DATABASE
from twisted_mta.journey.tracking import certifies, track

NOON = 1_800_000_000.0
CERTIFIER = "5en6G6MezRroT3XKqkdPOmY/BfQ="  # of b"secret"
ID, ENVID = "311111111111B", "1@a.test"
ACCEPTED = '{"to": ["bob@a.test"]}'


def tell(directory: Path, *events: tuple[str, str], certifier: str = CERTIFIER) -> None:
    database = JourneyDatabase(directory / DATABASE)
    told = [("accepted", ACCEPTED), *events]
    rows = [Event(number, NOON + number, ID, stage, facts) for number, (stage, facts) in enumerate(told)]
    database.add(rows, [], [(0, ENVID, certifier, ID)])
    database.close()


def test_the_certifier_is_the_hash_of_the_secret() -> None:
    assert certifies(CERTIFIER, b"secret")
    assert not certifies(CERTIFIER, b"Secret")
    assert not certifies("é", b"secret")
    assert not certifies("", b"")


@pytest.mark.parametrize(
    ("events", "action", "status", "host"),
    [
        ([], "delayed", "4.0.0", ""),
        ([("delivered", '{"to": "BOB@a.test"}')], "delivered", "2.0.0", ""),
        ([("relayed", '{"to": "bob@a.test", "status": "2.1.5", "host": "mx"}')], "relayed", "2.1.9", "mx"),
        (
            [("relayed", '{"to": "bob@a.test", "host": "mx", "tracking": "passed on"}')],
            "transferred",
            "2.4.0",
            "mx",
        ),
        ([("expanded", '{"to": "bob@a.test", "members": ["x@y.test"]}')], "expanded", "2.1.5", ""),
        ([("deferred", '{"to": "bob@a.test", "status": "4.4.1"}')], "delayed", "4.4.1", ""),
        ([("redirected", '{"to": "bob@a.test", "members": ["x@y.test"]}')], "expanded", "2.1.5", ""),
        ([("discarded", '{"to": "bob@a.test"}')], "delivered", "2.0.0", ""),
        (
            [("deferred", '{"to": "bob@a.test"}'), ("bounced", '{"to": "bob@a.test", "status": "5.1.1"}')],
            "failed",
            "5.1.1",
            "",
        ),
        ([("deferred", '{"to": "bob@a.test"}'), ("removed", '{"by": "hand"}')], "failed", "5.0.0", ""),
        ([("delivered", '{"to": "bob@a.test"}'), ("removed", '{"by": "hand"}')], "delivered", "2.0.0", ""),
        ([("removed", '{"by": "hand", "to": "bob@a.test"}')], "failed", "5.0.0", ""),
        ([("removed", '{"by": "hand", "to": "eve@a.test"}')], "delayed", "4.0.0", ""),
        ([("bounced", '{"to": "x@y.test", "status": "5.1.1"}')], "delayed", "4.0.0", ""),
    ],
)
def test_where_it_is(
    tmp_path: Path, events: list[tuple[str, str]], action: str, status: str, host: str
) -> None:
    tell(tmp_path, *events)
    (told,) = track(tmp_path / DATABASE, ENVID, b"secret", reporting_mta="mx.a.test")
    assert (told.envid, told.reporting_mta, told.arrived) == (ENVID, "mx.a.test", NOON)
    (recipient,) = told.recipients
    assert recipient.address == "bob@a.test"
    assert (recipient.action, recipient.status, recipient.remote_mta) == (action, status, host)


@pytest.mark.parametrize(("envid", "secret"), [(ENVID, b"wrong"), ("2@a.test", b"secret"), (ENVID, b"")])
def test_who_does_not_know_learns_nothing(tmp_path: Path, envid: str, secret: bytes) -> None:
    tell(tmp_path)
    assert track(tmp_path / DATABASE, envid, secret, reporting_mta="mx.a.test") == []


def test_requests_of_others_under_the_same_identifier_hide_nothing(tmp_path: Path) -> None:
    tell(tmp_path)
    database = JourneyDatabase(tmp_path / DATABASE)
    database.add([], [], [(number, ENVID, "b3RoZXI=", f"Q{number}") for number in range(10, 200)])
    database.close()
    (told,) = track(tmp_path / DATABASE, ENVID, b"secret", reporting_mta="mx.a.test")
    assert [recipient.address for recipient in told.recipients] == ["bob@a.test"]
