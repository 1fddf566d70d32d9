"""What the demonstration says at its start, where the server is one process and where it is two."""

from __future__ import annotations

from pathlib import Path

import pytest
from process import to_toml

from twisted_mta.service.demo import guide
from twisted_mta.service.options.config import load
from twisted_mta.service.options.roles import Role

PORTS = {"smtp": 2525, "submission": 2587, "submissions": 2465, "imap": 2143, "imaps": 2993, "https": 2443}
CONFIG = {
    "hostname": "mx.a.test",
    "data_dir": "data",
    "domains": ["a.test"],
    "listen": {name: [f"127.0.0.1:{port}"] for name, port in PORTS.items()},
    "tls": {"self_signed": True},
    "demo": {"accounts": ["alice@a.test", "bob@a.test"]},
}


@pytest.mark.parametrize(
    ("role", "begin", "missing"),
    [
        (None, "twisted_mta is running. It listens on:", ()),
        ("access", "twisted_mta is running, for access. It", ("smtp", "submission", "submissions", "https")),
        ("transfer", "twisted_mta is running, for transfer. It", ("imap", "imaps")),
    ],
)
def test_only_the_ports_of_this_process(
    tmp_path: Path, role: Role | None, begin: str, missing: tuple[str, ...]
) -> None:
    path = tmp_path / "mta.toml"
    path.write_text(to_toml(CONFIG))
    said = guide(load(path, role), path, {})
    assert begin in said
    assert [name for name, port in PORTS.items() if str(port) not in said] == list(missing)
