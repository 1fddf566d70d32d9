"""A whole server, whose people have app passwords, tokens of an issuer, and entries in a real LDAP server."""

import imaplib
import json
import smtplib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from process import ServerProcess, free_port
from slapd import BASE, READER, Slapd
from token_signer import Signer

from twisted_mta.directory.administration import Administration
from twisted_mta.directory.database import DirectoryDatabase

pytest.importorskip("ldap3", reason='the Python package ldap3 is not installed (the extra "ldap")')

ENTRIES = f"""dn: {BASE}
objectClass: dcObject
objectClass: organization
o: A
dc: a

dn: uid=carol,{BASE}
objectClass: inetOrgPerson
uid: carol
cn: carol
sn: carol
mail: carol@a.test
userPassword: ldap secret
"""
SIGNER = Signer("ES256")


class House:
    def __init__(self, place: Path) -> None:
        (place / "ldap").mkdir(parents=True)
        self.slapd = Slapd(place / "ldap", ENTRIES)
        self.imap, self.smtp = free_port(), free_port()
        (place / "keys.json").write_text(json.dumps({"keys": [SIGNER.jwk]}))
        config = {
            "hostname": "mx.a.test",
            "data_dir": "data",
            "domains": ["a.test"],
            "postmaster": "alice@a.test",
            "listen": {"smtp": [f"127.0.0.1:{self.smtp}"], "imap": [f"127.0.0.1:{self.imap}"]},
            "auth": {
                "allow_cleartext": True,
                "oauth": {"issuer": "https://id.test", "audience": ["mail"], "keys": "keys.json"},
            },
            "ldap": {
                "uri": f"ldap://localhost:{self.slapd.port}",
                "authorities": str(self.slapd.authorities),
                "bind_dn": READER,
                "bind_password_file": "reader",
                "base": BASE,
                "cache": 0,
            },
        }
        self.server = ServerProcess(config, place / "server")
        (place / "keys.json").rename(place / "server" / "keys.json")
        (place / "server" / "reader").write_text("reading\n")
        (place / "server" / "data").mkdir(mode=0o700)
        self.database = DirectoryDatabase(place / "server" / "data" / "directory.sqlite")
        self.by_hand = Administration(self.database, ["a.test"])
        self.by_hand.add_account("alice@a.test", "own secret")

    def logs_in(self, login: str, password: str) -> bool:
        with imaplib.IMAP4("127.0.0.1", self.imap) as client:
            try:
                client.login(login, password)
            except imaplib.IMAP4.error:
                return False
            return client.select()[0] == "OK"

    def bears(self, token: str) -> bool:
        with imaplib.IMAP4("127.0.0.1", self.imap) as client:
            said = f"n,,\1auth=Bearer {token}\1\1".encode()
            answers = [said, b"\1"]
            try:
                client.authenticate("OAUTHBEARER", lambda _: answers.pop(0))
            except imaplib.IMAP4.error:
                return False
            return client.select()[0] == "OK"

    def takes(self, recipient: str) -> int:
        with smtplib.SMTP("127.0.0.1", self.smtp, "client.a.test", timeout=30) as client:
            client.ehlo()
            client.mail("someone@other.test")
            return client.rcpt(recipient)[0]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = House(tmp_path_factory.mktemp("house"))
    with made.slapd, made.server:
        yield made
    made.database.close()


def test_an_app_password_is_good_until_it_is_removed(house: House) -> None:
    password = house.by_hand.add_app_password("alice@a.test", "telephone", ["imap"])
    assert house.logs_in("alice", password)
    assert house.logs_in("alice", "own secret")
    house.by_hand.remove_app_password("alice@a.test", "telephone")
    assert not house.logs_in("alice", password)
    assert password not in house.server.log_text()


def test_a_signed_token_is_good_and_a_forged_one_is_not(house: House) -> None:
    claims = {"iss": "https://id.test", "aud": "mail", "exp": time.time() + 600, "email": "carol@a.test"}
    assert house.bears(SIGNER.token(claims))
    assert not house.bears(Signer("ES256").token(claims))
    assert not house.bears(SIGNER.token({**claims, "aud": "web"}))


def test_who_is_in_ldap_gets_mail_and_gets_in_and_is_not_unknown_while_it_is_away(house: House) -> None:
    assert house.logs_in("carol", "ldap secret")
    assert not house.logs_in("carol", "wrong")
    assert [house.takes(f"{name}@a.test") for name in ("carol", "carol+x", "nobody")] == [250, 250, 550]
    house.slapd.stop()
    assert [house.takes(f"{name}@a.test") for name in ("alice", "carol", "nobody")] == [250, 250, 451]
    assert house.logs_in("alice", "own secret")
    assert not house.logs_in("carol", "ldap secret")
    house.slapd.start()
