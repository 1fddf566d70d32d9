"""What fails for want of descriptors has not been done: what is answered NO is as it was."""

import errno
import os

import pytest

from twisted_mta import durable
from twisted_mta.durable import write_whole
from twisted_mta.store.scripts import Scripts

OLD, NEW = b"keep;\r\n", b"discard;\r\n"


@pytest.fixture
def no_directory(monkeypatch):
    """No directory can be opened any more."""

    def opens(path, flags, mode=0o777, *, real=os.open):
        if os.path.isdir(path):
            raise OSError(errno.EMFILE, "Too many open files")
        return real(path, flags, mode)

    return lambda: monkeypatch.setattr(durable.os, "open", opens)


@pytest.fixture
def scripts(tmp_path):
    found = Scripts(tmp_path)
    found.write("mine", OLD)
    found.activate("mine")
    found.write("other", OLD)
    return found


@pytest.mark.parametrize(
    "change",
    [
        lambda scripts: scripts.write("mine", NEW),
        lambda scripts: scripts.rename("mine", "yours"),
        lambda scripts: scripts.delete("other"),
        lambda scripts: scripts.activate("other"),
        lambda scripts: scripts.activate(""),
    ],
    ids=["write", "rename", "delete", "activate", "none"],
)
def test_scripts_stay_as_they_were(scripts, no_directory, change):
    no_directory()
    with pytest.raises(OSError, match="Too many open files"):
        change(scripts)
    assert scripts.names() == ["mine", "other"] and scripts.active() == "mine"
    assert scripts.read("mine") == scripts.read("other") == OLD
    assert not list(scripts.directory.glob("tmp-*"))


def test_a_file_stays_as_it_was(tmp_path, no_directory):
    path = tmp_path / "kept"
    write_whole(path, OLD)
    no_directory()
    with pytest.raises(OSError, match="Too many open files"):
        write_whole(path, NEW)
    assert path.read_bytes() == OLD and os.listdir(tmp_path) == ["kept"]
