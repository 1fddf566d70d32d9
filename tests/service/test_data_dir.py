"""The data directory and its lock."""

import os
from pathlib import Path

import pytest

from twisted_mta.service.data_dir import Lock, create, require_free, server, servers, without_server
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


def test_each_role_is_taken_once(tmp_path: Path) -> None:
    transfer = Lock.acquire(tmp_path, ("transfer",))
    assert servers(tmp_path) == {"transfer": os.getpid()}
    access = Lock.acquire(tmp_path, ("access",))
    assert servers(tmp_path) == {"transfer": os.getpid(), "access": os.getpid()}
    for role in ("transfer", "access"):
        with pytest.raises(ConfigError, match=rf"process {os.getpid()}\) is using .* in the role {role};"):
            Lock.acquire(tmp_path, (role,))
    with pytest.raises(ConfigError, match="another server"):
        Lock.acquire(tmp_path)
    access.release()
    Lock.acquire(tmp_path, ("access",)).release()
    transfer.release()
    assert servers(tmp_path) == {}


def test_a_process_with_both_roles_is_alone(tmp_path: Path) -> None:
    lock = Lock.acquire(tmp_path)
    assert servers(tmp_path) == {"transfer": os.getpid(), "access": os.getpid()}
    assert server(tmp_path, "access") == server(tmp_path) == os.getpid()
    with pytest.raises(
        ConfigError, match=r"\(process \d+\) is using .* stop it, or give this one a data_dir"
    ):
        Lock.acquire(tmp_path, ("access",))
    lock.release()
    assert server(tmp_path) is None


def test_what_is_done_without_a_server_needs_only_the_role_it_stands_in_for(tmp_path: Path) -> None:
    done: list[str] = []
    lock = Lock.acquire(tmp_path, ("transfer",))
    assert without_server(tmp_path, lambda: done.append("access"), roles=("access",))
    assert not without_server(tmp_path, lambda: done.append("transfer"), roles=("transfer",))
    assert not without_server(tmp_path, lambda: done.append("both"))
    lock.release()
    assert without_server(tmp_path, lambda: done.append("both"))
    assert done == ["access", "both"]


def test_a_look_tells_what_taking_the_lock_would(tmp_path: Path) -> None:
    require_free(tmp_path / "not there yet")
    access = Lock.acquire(tmp_path, ("access",))
    require_free(tmp_path, ("transfer",))
    for roles in (("access",), ("transfer", "access")):
        with pytest.raises(ConfigError, match=rf"another server \(process {os.getpid()}\) is using"):
            require_free(tmp_path, roles)
    access.release()
    both = Lock.acquire(tmp_path)
    with pytest.raises(ConfigError, match="stop it, or give this one a data_dir of its own"):
        require_free(tmp_path, ("transfer",))
    both.release()
    require_free(tmp_path)


def test_a_command_that_keeps_servers_away_is_none(tmp_path: Path) -> None:
    done: dict[str, int | None] = {}

    def work() -> None:
        assert servers(tmp_path) == {} and server(tmp_path) is None
        with pytest.raises(ConfigError, match=rf"a command \(process {os.getpid()}\) is at work in"):
            Lock.acquire(tmp_path)

    assert without_server(tmp_path, work)
    assert without_server(tmp_path, work, roles=("access",))
    transfer = Lock.acquire(tmp_path, ("transfer",))
    assert without_server(tmp_path, lambda: done.update(servers(tmp_path)), roles=("access",))
    assert done == {"transfer": os.getpid()}
    transfer.release()
    lock = Lock.acquire(tmp_path)  # and the next one is a server again
    assert server(tmp_path) == os.getpid()
    lock.release()
