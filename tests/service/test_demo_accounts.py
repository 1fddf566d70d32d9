"""The accounts of the demonstration, when two processes make them at the same moment."""

from pathlib import Path

import pytest

from twisted_mta.directory.app_passwords import random_text
from twisted_mta.directory.database import DATABASE, DirectoryDatabase
from twisted_mta.directory.passwords import prepare, verify
from twisted_mta.service import demo
from twisted_mta.service.options.config import Config, Demo
from twisted_mta.service.options.quantities import Domain, MailAddress

ACCOUNTS = ("alice@a.test", "bob@a.test")


def test_what_the_other_process_has_made_meanwhile_is_taken_for_granted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config(
        hostname=Domain("mx.a.test"),
        data_dir=str(tmp_path),
        domains=(Domain("a.test"),),
        demo=Demo(accounts=tuple(map(MailAddress, ACCOUNTS))),
    )
    others: dict[str, str] = {}

    def meanwhile(groups: int) -> str:
        """The first password is thought of: then the other process does it all."""
        monkeypatch.setattr(demo, "random_text", random_text)
        others.update(demo.create_accounts(config))
        return random_text(groups)

    monkeypatch.setattr(demo, "random_text", meanwhile)
    assert demo.create_accounts(config) == {}
    assert set(others) == set(ACCOUNTS)
    database = DirectoryDatabase(tmp_path / DATABASE)
    hashes = dict(database.accounts())
    database.close()
    assert all(verify(prepare(password), hashes[name]) for name, password in others.items())
