"""What the configuration says of strangers: refused with a sentence where it is wrong, and in force."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from configured import configured
from twisted.internet.task import Clock

from twisted_mta.journey.bus import Journey
from twisted_mta.service.commands.cli import main
from twisted_mta.service.options.complaint import ConfigError
from twisted_mta.service.options.config import decode, load
from twisted_mta.service.options.quantities import Frequency
from twisted_mta.service.wiring.reception import WITH_LOGINS, Gate
from twisted_mta.wire.admission import Verdict
from twisted_mta.wire.rates import Rate

LEAST = 'hostname = "mx.a.test"\ndata_dir = "data"\ndomains = ["a.test"]\nlisten.smtp = ["127.0.0.1:2525"]\n'


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('hello = "rejct"', 'reception.hello: expected "off" or "record" or "reject" or "strict", found'),
        ("reverse_dns = true", "reception.reverse_dns: expected a text in quotes"),
        ('greeting_delay = "soon"', "reception.greeting_delay: expected a duration such as"),
        (
            '[rates.smtp]\nmessages = "many"',
            "rates.smtp.messages: 'many' does not say how many in which time, such as",
        ),
        ('[rates.smtp]\nmessages = "0/1m"', "rates.smtp.messages: '0/1m' does not say"),
        ('[rates.smtp]\nmessages = "5/0s"', "rates.smtp.messages: '5/0s' does not say"),
        ("[rates.smtp]\nmessages = 5", "rates.smtp.messages: expected how many in which time, such as"),
        ("[rates]\nv4 = 33", "rates.v4: expected a whole number up to 32"),
        ("[rates]\nv6 = 8", "rates.v6: expected a whole number from 16 up"),
        ("[bans]\nfailures = 0", "bans.failures: expected a whole number from 1 up"),
        ('[bans]\nexempt = ["us"]', "bans.exempt[0]: 'us' is not a network such as"),
        ('[bans]\nlongest = "1m"', "bans.longest: shorter than bans.shortest"),
        ('[limits]\nlag = "0s"', "limits.lag: expected a duration"),
    ],
)
def test_what_is_wrong_is_told_in_a_sentence(tmp_path, text, sentence):
    path = tmp_path / "mta.toml"
    path.write_text(LEAST + ("" if text.startswith("[") else "[reception]\n") + text + "\n")
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        load(path)


def test_frequencies():
    assert (Frequency.read("300/1m").amount, Frequency.read(" 5 / 2 h ").seconds) == (300, 7200)
    assert Frequency.read(0).amount == Frequency.read("").amount == 0


def gate(**changes):
    config = decode(
        {
            "hostname": "mx.a.test",
            "data_dir": "data",
            "domains": ["a.test", "b.test"],
            "relay": {"allow_networks": ["203.0.113.0/24"]},
            "dns": {"nameservers": ["127.0.0.1:1"]},
            **changes,
        }
    )
    return Gate(config, journey=Journey(), reactor=Clock())


def test_the_banned_are_kept_out_of_services_with_logins_alone():
    built = gate()
    for _ in range(10):
        built.bans.failed("imap", "192.0.2.1", "x")
    assert {built.admission(service)("192.0.2.1") for service in WITH_LOGINS} == {Verdict.BANNED}
    assert built.admission("smtp")("192.0.2.1") is built.admission("lmtp")("192.0.2.1") is Verdict.WELCOME


def test_submission_on_both_ports_has_one_rate():
    built = gate(rates={"submission": {"connections": "2/1m"}})
    ports = [built.admission("submission"), built.admission("submissions")]
    assert [ports[i % 2]("192.0.2.1") for i in range(3)] == [*[Verdict.WELCOME] * 2, Verdict.TOO_OFTEN]
    assert ports[0]("203.0.113.1") is Verdict.WELCOME and ports[0]("127.0.0.1") is Verdict.WELCOME


def test_the_rules_are_those_of_the_file():
    built = gate(reception={"hello": "strict", "greeting_delay": "7s"}, rates={"smtp": {"messages": "5/1m"}})
    screening = built.screening("smtp")
    assert screening.rules.hello == "strict" and screening.rules.greeting_delay == 7
    assert screening.rules.own_names == {"mx.a.test", "a.test", "b.test"}
    assert screening.trusts("203.0.113.9") and not screening.trusts("192.0.2.1")
    assert screening.rates._limits.messages == Rate(5, 60.0)
    assert built.screening("submission").resolver is None


def test_who_is_never_banned_is_not_by_hand_either(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configured(tmp_path, smtp={"xclient": ["192.0.2.0/24"]}, bans={"exempt": ["203.0.113.7"]})
    for network in ("192.0.2.7", "203.0.113.0/24", "127.0.0.1"):
        assert main(["--config", str(tmp_path / "mta.toml"), "bans", "add", network]) == 1
        assert "never banned" in capsys.readouterr().err
