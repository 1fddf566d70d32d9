"""[auth] of the configuration, what is built from it, and `mta account app-password`."""

import json
import re
from pathlib import Path

import pytest
from certificates import authority
from configured import configured
from twisted.internet.task import Clock

from twisted_mta.directory.database import DirectoryDatabase
from twisted_mta.directory.oauth.tokens import AskedTokens, SignedTokens
from twisted_mta.interfaces import IDirectory
from twisted_mta.service.commands import cli
from twisted_mta.service.directory_administration import opened_administration
from twisted_mta.service.options.complaint import ConfigError
from twisted_mta.service.options.config import Config
from twisted_mta.service.wiring.auth import build_tokens

SIGNED = {"issuer": "https://id.test", "audience": ["mail"], "keys": "https://id.test/jwks.json"}
ASKED = {"introspection": "https://id.test/introspect", "audience": ["mail"]}


def loaded(tmp_path: Path, **auth: object) -> Config:
    return configured(tmp_path, auth=auth)


def test_without_it_no_tokens_are_taken(tmp_path: Path) -> None:
    config = loaded(tmp_path)
    assert config.auth.keeps_scram_keys
    assert build_tokens(config.auth.oauth, directory=IDirectory, resolver=None, reactor=None) is None


def test_keys_or_introspection(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s3cret\n")
    (tmp_path / "keys.json").write_text("{}")
    (tmp_path / "ca.pem").write_bytes(authority().certificate.dumpPEM())
    for options, reader in (
        (SIGNED, SignedTokens),
        ({**SIGNED, "keys": "keys.json", "scopes": {"imap": "mail.read"}}, SignedTokens),
        (ASKED, AskedTokens),
        ({**ASKED, "audience": [], "scope": "mail"}, AskedTokens),
        ({**ASKED, "client_id": "me", "client_secret_file": "secret", "authorities": "ca.pem"}, AskedTokens),
    ):
        oauth = loaded(tmp_path, oauth=options).auth.oauth
        tokens = build_tokens(oauth, directory=Accounts(), resolver=None, reactor=Clock())
        assert isinstance(tokens._reader, reader)
        if "issuer" in options:
            assert tokens.advice.configuration == "https://id.test/.well-known/openid-configuration"
    assert loaded(tmp_path, oauth={**SIGNED, "keys": "keys.json"}).auth.oauth.keys == str(
        tmp_path / "keys.json"
    )


class Accounts:
    account_of_login = None


@pytest.mark.parametrize(
    ("oauth", "sentence"),
    [
        ({"issuer": "https://id.test"}, "neither keys nor introspection"),
        ({**SIGNED, **ASKED}, "not both"),
        ({**SIGNED, "issuer": ""}, "issuer: missing"),
        ({**SIGNED, "audience": []}, "audience: missing"),
        ({**SIGNED, "keys": "http://id.test/jwks.json"}, "cannot read"),
        ({**SIGNED, "keys": "nothing.json"}, "cannot read"),
        ({**SIGNED, "keys": "https://user:pw@id.test/"}, "https://host.example/path"),
        ({**SIGNED, "keys": "https://192.0.2.1/jwks.json"}, "https://host.example/path"),
        ({"introspection": "http://id.test/"}, "https://host.example/path"),
        ({"introspection": "https://id.test:port/"}, "https://host.example/path"),
        ({"introspection": "https://id.test/#here"}, "https://host.example/path"),
        ({**ASKED, "client_id": "me"}, "goes together with"),
        ({**ASKED, "audience": []}, "audience: missing, and scope"),
        ({**ASKED, "audience": [], "issuer": "https://id.test"}, "audience: missing, and scope"),
        ({**ASKED, "audience": [], "scopes": {"imap": "mail"}}, "audience: missing, and scope"),
        ({**ASKED, "client_id": "me", "client_secret_file": "nothing"}, "cannot read"),
        ({**SIGNED, "scope": "a b"}, "not one scope"),
        ({**SIGNED, "scopes": {"imap": "a b"}}, "not one scope"),
        ({**SIGNED, "scopes": {"ftp": "a"}}, "ftp"),
        ({**SIGNED, "account_claim": ""}, "account_claim"),
        ({**SIGNED, "aud": "mail"}, "audience"),
    ],
)
def test_what_is_refused(tmp_path: Path, oauth: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        loaded(tmp_path, oauth=oauth)


def test_scram(tmp_path: Path) -> None:
    assert not loaded(tmp_path, scram="never").auth.keeps_scram_keys
    with pytest.raises(ConfigError, match=r"auth\.scram"):
        loaded(tmp_path, scram="sometimes")
    with pytest.raises(ConfigError, match="cannot read"):
        loaded(tmp_path, client_certificates="nothing.pem")


def test_app_passwords_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = loaded(tmp_path)
    (tmp_path / "data").mkdir(mode=0o700)
    with opened_administration(config) as directory:
        directory.add_account("alice@a.test", "secret")

    def mta(*arguments: str, code: int = 0) -> str:
        command = ["--config", str(tmp_path / "mta.toml"), "account", "app-password", *arguments]
        assert cli.main(command) == code
        said = capsys.readouterr()
        return said.out if code == 0 else said.err

    assert "no app passwords" in mta("list", "alice@a.test")
    password = mta("add", "Alice@A.test", "telephone", "--only", "imap", "smtp")
    assert re.fullmatch(r"([a-z2-9]{4}-){6}[a-z2-9]{4}\n", password)
    mta("add", "alice@a.test", "old tablet")
    assert "already" in mta("add", "alice@a.test", "telephone", code=1)
    shown = mta("list", "alice@a.test")
    assert re.fullmatch(
        r"old tablet: smtp, imap, pop3, sieve, jmap; made \S+ \S+, never used\n"
        r"telephone: smtp, imap; made \S+ \S+, never used\n",
        shown,
    )
    assert password.strip() not in shown
    database = DirectoryDatabase(tmp_path / "data" / "directory.sqlite")
    with database.transaction():
        database.app_password_used("alice@a.test", "telephone", 1_700_000_000)
    (_, facts) = json.loads(mta("list", "alice@a.test", "--json"))
    assert (facts["name"], facts["services"], facts["used"]) == ("telephone", ["smtp", "imap"], 1_700_000_000)
    assert "removed" in mta("remove", "alice@a.test", "telephone")
    assert "no app password" in mta("remove", "alice@a.test", "telephone", code=1)
