"""[filters] of the configuration: what is refused, in which words, what is made of the rest, who answers."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from configured import configured
from dictionary_resolver import DictionaryResolver
from twisted.internet.task import Clock

from twisted_mta.protocol.milter.packets import numbers, packet
from twisted_mta.service.checks.configuration import findings
from twisted_mta.service.options.complaint import ConfigError
from twisted_mta.service.options.config import Config
from twisted_mta.service.wiring.filter import ContentFilters, unprotected
from twisted_mta.trust.filters.daemon import Place
from twisted_mta.trust.filters.filtering import GRACE
from twisted_mta.trust.filters.http_hook import HttpHook

SERVER = "127.0.0.1:11333"


def loaded(directory: Path, **filters: object) -> Config:
    return configured(directory, filters=filters)


@pytest.mark.parametrize(
    ("filters", "sentence"),
    [
        ({"rspamd": {"server": "rspamd"}}, "filters.rspamd.server: 'rspamd' is not a host:port"),
        ({"rspamd": {"server": 5}}, "filters.rspamd.server: expected an address"),
        (
            {"rspamd": {"server": SERVER, "when_down": "reject"}},
            'filters.rspamd.when_down: expected "accept" or',
        ),
        ({"rspamd": {"server": SERVER, "weight": -1.0}}, "filters.rspamd.weight"),
        ({"clamav": {"server": SERVER, "timeout": "5m"}}, "filters.clamav.timeout: at most 4m"),
        (
            {"clamav": {"server": SERVER, "when_too_large": "defer"}},
            "filters.clamav.when_too_large: expected",
        ),
        ({"spamd": {"server": SERVER, "user": "a b"}}, "filters.spamd.user: expected the name"),
        ({"milters": {"dkim": {"timeout": "5s"}}}, "filters.milters.dkim.server: empty"),
        ({"milters": {"dkim": {"sever": SERVER}}}, "unknown key; did you mean server?"),
        ({"milters": {"dkim": {"server": ""}}}, "filters.milters.dkim.server: empty; write for example"),
        ({"milters": {"hook": {"server": SERVER}}}, "filters.milters: 'hook' is no name"),
        ({"milters": {"A b": {"server": SERVER}}}, "filters.milters: 'A b' is no name"),
        ({"milter": {"dkim": {"server": SERVER}}}, "filters.milter: unknown key; did you mean milters?"),
        ({"hook": {"url": "ftp://a.test/"}}, "filters.hook.url: expected a URL"),
        ({"hook": {"url": "https://a:b@c.test/"}}, "filters.hook.url: expected a URL"),
        ({"hook": {"url": "https://a.test:x/"}}, "filters.hook.url: expected a URL"),
        ({"hook": {"url": "https://a.test/b c"}}, "filters.hook.url: no spaces"),
        ({"hook": {"content": True}}, "filters.hook.url: missing"),
        ({"hook": {"url": "http://a.test/", "secret_file": "gone"}}, "filters.hook.secret_file: cannot read"),
    ],
)
def test_what_is_wrong_is_told_with_its_key(
    tmp_path: Path, filters: dict[str, object], sentence: str
) -> None:
    with pytest.raises(ConfigError) as error:
        loaded(tmp_path, **filters)
    assert sentence in str(error.value)


def made(config: Config) -> ContentFilters:
    return ContentFilters(config, resolver=DictionaryResolver(), reactor=Clock())


def test_nothing_is_asked_unless_it_is_named(tmp_path: Path) -> None:
    assert made(loaded(tmp_path)).checks == []


def test_all_of_them(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("open sesame\n")
    filters = made(
        loaded(
            tmp_path,
            rspamd={"server": "rspamd.a.test:11333", "weight": 0.5, "when_down": "defer"},
            clamav={"server": "/run/clamav/clamd.ctl", "largest": "1M"},
            spamd={"server": "[::1]:783"},
            hook={"url": "https://hook.a.test/in?x=1", "secret_file": "secret", "timeout": "3s"},
            milters={"opendkim": {"server": "localhost:8891"}},
        )
    ).checks
    assert [(check.name, check.daemon.place) for check in filters] == [
        ("clamav", Place(path="/run/clamav/clamd.ctl")),
        ("rspamd", Place("rspamd.a.test", 11333)),
        ("spamd", Place("::1", 783)),
        ("opendkim", Place("localhost", 8891)),
        ("hook", Place("hook.a.test", 443, tls=True)),
    ]
    clamav, rspamd, *_, hook = filters
    assert (clamav.rules.largest, clamav.otherwise.action) == (2**20, "defer")
    assert (rspamd.rules.weight, rspamd.rules.when_down, rspamd.otherwise.action) == (0.5, "defer", "defer")
    assert isinstance(hook, HttpHook) and hook.seconds == 3 + GRACE


@pytest.fixture
def listening() -> Iterator[Any]:
    """Gives the port of somebody who says one thing to each connection."""
    sockets = []

    def listen(answer: bytes) -> int:
        opened = socket.create_server(("127.0.0.1", 0))
        sockets.append(opened)

        def talk() -> None:
            connection, _ = opened.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(answer)

        Thread(target=talk, daemon=True).start()
        return int(opened.getsockname()[1])

    yield listen
    for opened in sockets:
        opened.close()


def test_a_hook_without_tls(tmp_path: Path) -> None:
    for url, warned in (
        ("http://203.0.113.9:1/", False),  # a network for examples counts as private
        ("http://8.8.8.8:1/", True),
        ("http://hook.invalid:1/", True),
        ("https://hook.invalid:1/", False),
        ("http://localhost:1/", False),
    ):
        hook = loaded(tmp_path, hook={"url": url})
        assert any("unprotected" in text for text in unprotected(hook)) is warned, url


def test_the_secret_is_nobody_elses(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    (tmp_path / "secret").chmod(0o644)
    config = loaded(tmp_path, hook={"url": "http://127.0.0.1:1/", "secret_file": "secret"})
    assert any(text.startswith("filters.hook.secret_file: everybody") for text in findings(config))


def test_who_answers(tmp_path: Path, listening: Any) -> None:
    agreement = packet(b"O", numbers((6, 0, 0)))
    fine = loaded(
        tmp_path,
        rspamd={"server": f"127.0.0.1:{listening(b'HTTP/1.0 200 OK')}"},
        clamav={"server": f"127.0.0.1:{listening(b'PONG')}"},
        spamd={"server": f"127.0.0.1:{listening(b'SPAMD/1.5 0 PONG')}"},
        hook={"url": f"http://127.0.0.1:{listening(b'')}/"},
        milters={"dkim": {"server": f"127.0.0.1:{listening(agreement)}"}},
    )
    assert not [text for text in findings(fine) if text.startswith("filters")]
    wrong = loaded(
        tmp_path,
        clamav={"server": f"127.0.0.1:{listening(b'HTTP/1.0 200 OK')}"},
        milters={"dkim": {"server": f"{tmp_path}/gone"}},
    )
    assert [text for text in findings(wrong) if text.startswith("filters")] == [
        "filters.clamav: does not answer as it should (that is another protocol);"
        " until it does, mail is put off",
        "filters.milters.dkim: does not answer as it should (No such file or directory);"
        " until it does, mail is taken without it",
    ]
