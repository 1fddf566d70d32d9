"""A small configuration in a file, as the server reads it."""

from __future__ import annotations

from pathlib import Path

from process import to_toml

from twisted_mta.service.options.config import Config, load

LEAST = {
    "hostname": "mx.a.test",
    "data_dir": "data",
    "domains": ["a.test"],
    "listen": {"smtp": ["127.0.0.1:2525"]},
}


def configured(directory: Path, **tables: object) -> Config:
    """With `tables` beside the least there can be, or instead of it. Raises ConfigError."""
    path = directory / "mta.toml"
    path.write_text(to_toml({**LEAST, **tables}))
    return load(path)
