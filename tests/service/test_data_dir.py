"""The data directory and its lock."""

from pathlib import Path

import pytest

from twisted_mta.service.data_dir import Lock, create
from twisted_mta.service.options.complaint import ConfigError


def test_it_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    create(tmp_path / "a" / "data")
    assert (tmp_path / "a" / "data").stat().st_mode & 0o777 == 0o700
    create(tmp_path / "a" / "data")


def test_a_file_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(ConfigError, match="data_dir: cannot write to"):
        create(tmp_path / "data")


def test_one_server_at_a_time(tmp_path: Path) -> None:
    lock = Lock.acquire(tmp_path)
    with pytest.raises(ConfigError, match=r"another server \(process \d+\) is using"):
        Lock.acquire(tmp_path)
    lock.release()
    Lock.acquire(tmp_path).release()
