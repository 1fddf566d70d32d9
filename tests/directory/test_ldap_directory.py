"""A directory with a real LDAP server, Debian's slapd, behind it: who is there, who gets in, and what becomes
of mail and logins when it is away."""

import socket
import subprocess
import tempfile
from pathlib import Path

import pytest
from process import to_toml
from quick_passwords import quick_hash
from slapd import BASE, READER, Slapd
from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred, gatherResults
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from twisted_mta.directory import administration as administration_module
from twisted_mta.directory import directory as directory_module
from twisted_mta.directory.administration import Administration
from twisted_mta.directory.database import DirectoryDatabase
from twisted_mta.directory.ldap import accounts as accounts_module
from twisted_mta.directory.ldap import client as client_module
from twisted_mta.directory.ldap.accounts import REST, STALE
from twisted_mta.directory.ldap.client import LdapClient, LdapServer, LdapUnavailable
from twisted_mta.directory.ldap_directory import LdapDirectory
from twisted_mta.interfaces import IDirectory, Resolution
from twisted_mta.message.address import Address
from twisted_mta.message.status import MailError
from twisted_mta.service.commands import cli
from twisted_mta.service.directory_administration import administration
from twisted_mta.service.options.complaint import ConfigError
from twisted_mta.service.options.config import Config, load
from twisted_mta.service.wiring.directory import build_directory

pytest.importorskip("ldap3", reason='the Python package ldap3 is not installed (the extra "ldap")')

CACHE = 60.0


def person(uid: str, *mails: str, password: str = "ldap secret") -> str:
    lines = [f"dn: uid={uid},{BASE}", "objectClass: inetOrgPerson", f"uid: {uid}", f"cn: {uid}", f"sn: {uid}"]
    return "\n".join([*lines, *(f"mail: {mail}" for mail in mails), f"userPassword: {password}"]) + "\n"


def alias(name: str, *targets: str) -> str:
    lines = [f"dn: cn={name},{BASE}", "objectClass: nisMailAlias", f"cn: {name}"]
    return "\n".join([*lines, *(f"rfc822MailMember: {target}" for target in targets)]) + "\n"


ENTRIES = "\n".join(
    [
        f"dn: {BASE}\nobjectClass: dcObject\nobjectClass: organization\no: A\ndc: a\n",
        person("carol", "carol@a.test"),
        person("dave", "Dave@A.test"),
        person("erin", "erin@a.test"),
        person("alice", "alice@a.test"),
        person("two-mails", "one@a.test", "two@a.test"),
        person("twin-1", "twin@a.test"),
        person("twin-2", "twin@a.test"),
        person("stranger", "stranger@other.test"),
        person("nomail"),
        person("hank", "henry@a.test"),
        alias("team", "carol@a.test", "Bob@Other.test", "nonsense"),
        alias("everybody", "team@a.test", "dave@a.test"),
        alias("circle", "circle@a.test"),
        alias("junk", "nonsense"),
    ]
)


class Passing:
    """The reactor, with a clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def seconds(self) -> float:
        return self.now

    def __getattr__(self, name: str):
        return getattr(reactor, name)


def config_of(path: Path, slapd: Slapd | None, **ldap: object) -> Config:
    (path / "reader").write_text("reading\n")
    given = {
        "uri": f"ldap://localhost:{slapd.port}" if slapd else "ldap://localhost:9",
        "authorities": str(slapd.authorities) if slapd else "",
        "bind_dn": READER,
        "bind_password_file": "reader",
        "base": BASE,
        "alias_filter": "(&(objectClass=nisMailAlias)(cn={local}))",
        "alias_targets": "rfc822MailMember",
        **ldap,
    }
    table = {
        "hostname": "mx.a.test",
        "data_dir": "data",
        "domains": ["a.test"],
        "postmaster": "alice@a.test",
        "listen": {"smtp": ["127.0.0.1:2525"]},
        "ldap": {name: value for name, value in given.items() if value is not None},
    }
    (path / "mta.toml").write_text(to_toml(table))
    return load(path / "mta.toml")


class LdapTests(TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.place = tempfile.TemporaryDirectory()
        cls.slapd = Slapd(Path(cls.place.name), ENTRIES)

    @classmethod
    def tearDownClass(cls) -> None:
        cls.slapd.stop()
        cls.place.cleanup()

    async def setUp(self) -> None:
        for place in (directory_module, administration_module):
            self.patch(place, "hash_password", quick_hash)
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = Path(directory.name)
        (self.path / "data").mkdir(mode=0o700)
        self.database = DirectoryDatabase(self.path / "data" / "directory.sqlite")
        self.addCleanup(self.database.close)
        self.administration = Administration(self.database, ["a.test"])
        self.administration.add_account("alice@a.test", "own secret")
        self.clock = Passing()
        await self.started()

    async def started(self, **ldap: object) -> None:
        self.config = config_of(self.path, self.slapd, cache=CACHE, **ldap)
        self.directory = build_directory(self.config, reactor=self.clock)
        await self.directory.start()
        directory = self.directory
        self.addCleanup(lambda: ensureDeferred(directory.stop()))

    async def resolve(self, text: str) -> Resolution | None:
        local, _, domain = text.rpartition("@")
        return await self.directory.resolve(Address(local, domain))

    async def refused(self, awaited, code: int) -> None:
        with self.assertRaises(MailError) as raised:
            await awaited
        self.assertEqual(raised.exception.code, code)
        self.assertFalse(raised.exception.permanent)

    def away(self) -> None:
        """The server goes; it comes back with the end of the test, or with `back`."""
        self.slapd.stop()
        self.addCleanup(lambda: self.slapd._process.poll() is None or self.slapd.start())

    def back(self) -> None:
        self.slapd.start()
        self.clock.now += REST

    # Addresses

    async def test_accounts_and_aliases_are_found(self) -> None:
        verifyObject(IDirectory, self.directory)
        self.assertIsInstance(self.directory, LdapDirectory)
        carol = Resolution(account="carol@a.test")
        for text in ("carol@a.test", "CAROL@a.test"):
            self.assertEqual(await self.resolve(text), carol)
        self.assertEqual(await self.resolve("dave@a.test"), Resolution(account="dave@a.test"))
        self.assertEqual(
            await self.resolve("carol+x+y@a.test"), Resolution(account="carol@a.test", detail="x+y")
        )
        team = (Address("carol", "a.test"), Address("Bob", "other.test"))
        self.assertEqual(await self.resolve("team@a.test"), Resolution(aliases=team))
        self.assertEqual(await self.resolve("team+x@a.test"), Resolution(aliases=team, detail="x"))
        for text in ("nobody@a.test", "junk@a.test", "carol@other.test", "stranger@other.test", "+@a.test"):
            self.assertIsNone(await self.resolve(text), text)

    async def test_nobody_gets_a_filter_in(self) -> None:
        for local in ("*", "c*", "carol)(uid=*", "\\2a", "carol\0", "(", "{local}", "\u00fc", "*" * 64):
            self.assertIsNone(await self.directory.resolve(Address(local, "a.test")), local)
            self.assertIsNone(await self.directory.account_of_login(local), local)
        self.assertIsNone(await self.directory.account_of_login("\udcff"))
        self.assertEqual(await self.resolve("carol@a.test"), Resolution(account="carol@a.test"))

    async def test_what_is_here_counts_first_and_fallbacks_last(self) -> None:
        self.administration.add_alias("erin@a.test", ["alice@a.test"])
        self.administration.add_alias("@a.test", ["alice@a.test"])
        to_alice = Resolution(aliases=(Address("alice", "a.test"),))
        for text in ("erin@a.test", "nobody@a.test", "postmaster@a.test", "abuse@a.test"):
            self.assertEqual(await self.resolve(text), to_alice, text)
        self.assertEqual(await self.resolve("carol@a.test"), Resolution(account="carol@a.test"))
        self.assertEqual(await self.resolve("alice@a.test"), Resolution(account="alice@a.test"))

    async def test_what_may_be_sent_as(self) -> None:
        for account, text, owned in (
            ("carol@a.test", "carol@a.test", True),
            ("carol@a.test", "carol+x@a.test", True),
            ("carol@a.test", "team@a.test", True),
            ("carol@a.test", "everybody@a.test", True),
            ("dave@a.test", "everybody@a.test", True),
            ("dave@a.test", "team@a.test", False),
            ("carol@a.test", "circle@a.test", False),
            ("carol@a.test", "bob@other.test", False),
            ("alice@a.test", "postmaster@a.test", True),
        ):
            self.assertEqual(await self.directory.owns(account, Address.parse(text)), owned, text)

    async def test_another_address_of_an_account_is_an_alias(self) -> None:
        await self.started(account_filter="(|(mail={address})(uid={local}))")
        henry = Address("henry", "a.test")
        self.assertEqual(await self.resolve("henry@a.test"), Resolution(account="henry@a.test"))
        self.assertEqual(await self.resolve("hank+x@a.test"), Resolution(aliases=(henry,), detail="x"))
        self.assertTrue(await self.directory.owns("henry@a.test", Address("hank", "a.test")))
        self.assertEqual(await self.directory.authenticate("hank", "ldap secret"), "henry@a.test")
        await self.started(account="{uid}@a.test")  # but it is looked for by mail
        await self.refused(self.resolve("henry@a.test"), 451)

    async def test_an_entry_that_cannot_be_used_is_a_temporary_trouble_of_its_own(self) -> None:
        for text in ("one@a.test", "twin@a.test"):
            await self.refused(self.resolve(text), 451)
        self.assertEqual(await self.resolve("carol@a.test"), Resolution(account="carol@a.test"))
        for login in ("two-mails", "twin@a.test", "stranger", "nomail"):
            self.assertIsNone(await self.directory.authenticate(login, "ldap secret"), login)
        self.assertEqual(await self.directory.authenticate("carol", "ldap secret"), "carol@a.test")

    async def test_an_answer_holds_for_a_while(self) -> None:
        self.slapd.modify(f"dn: uid=frank,{BASE}\nchangetype: add\n" + person("frank", "frank@a.test")[27:])
        self.addCleanup(lambda: self.slapd.modify(f"dn: uid=frank,{BASE}\nchangetype: delete\n"))
        self.assertIsNotNone(await self.resolve("frank@a.test"))
        self.slapd.modify(f"dn: uid=frank,{BASE}\nchangetype: modify\nreplace: mail\nmail: f@a.test\n")
        self.assertIsNone(await self.resolve("f@a.test") and None)
        self.assertIsNotNone(await self.resolve("frank@a.test"))
        self.clock.now += CACHE
        self.assertIsNone(await self.resolve("frank@a.test"))

    async def test_what_is_remembered_is_bounded(self) -> None:
        self.patch(accounts_module, "MOST_REMEMBERED", 2)
        for text in ("carol@a.test", "dave@a.test", "nobody@a.test"):
            await self.resolve(text)
        self.assertEqual(list(self.directory._ldap._answers), ["dave@a.test", "nobody@a.test"])

    async def test_many_who_ask_at_once_are_one_question(self) -> None:
        asked = []
        search = LdapClient.search
        self.patch(LdapClient, "search", lambda *arguments: asked.append(1) or search(*arguments))
        questions = [Deferred.fromCoroutine(self.resolve("carol@a.test")) for _ in range(10)]
        self.assertEqual(await gatherResults(questions), [Resolution(account="carol@a.test")] * 10)
        self.assertEqual(len(asked), 1)

    # Logins

    async def test_logins(self) -> None:
        for login in ("carol", "CAROL", "carol@a.test"):
            self.assertEqual(await self.directory.authenticate(login, "ldap secret"), "carol@a.test")
            self.assertEqual(await self.directory.account_of_login(login), "carol@a.test")
        self.assertEqual(await self.directory.authenticate("alice", "own secret"), "alice@a.test")
        for login, password in (
            ("carol", "wrong"),
            ("carol", ""),
            ("carol", "\0"),
            ("nobody", "ldap secret"),
            ("*", "ldap secret"),
            ("", "ldap secret"),
            ("x" * 100_000, "ldap secret"),
            ("alice", "ldap secret"),  # LDAP's entry does not open the account that is here
            (f"uid=carol,{BASE}", "ldap secret"),
            (READER, "reading"),
        ):
            self.assertIsNone(await self.directory.authenticate(login, password), login)
        self.assertFalse(self.directory.offers_scram())

    async def test_every_failure_costs_a_hash_a_search_and_a_bind(self) -> None:
        costs: list[str] = []
        verify, search, accepts = directory_module.verify, LdapClient.search, LdapClient.accepts

        def counted(name, work):
            return lambda *arguments: costs.append(name) or work(*arguments)

        self.patch(directory_module, "verify", counted("hash", verify))
        self.patch(LdapClient, "search", counted("search", search))
        self.patch(LdapClient, "accepts", counted("bind", accepts))
        for login in ("alice", "carol", "nobody", "nobody@elsewhere.test"):
            costs.clear()
            self.assertIsNone(await self.directory.authenticate(login, "wrong"))
            self.assertEqual(sorted(costs), ["bind", "hash", "search"], login)

    async def test_a_good_password_is_remembered_for_a_while_an_entry_is_not(self) -> None:
        self.slapd.modify(f"dn: uid=gina,{BASE}\nchangetype: add\n" + person("gina", "gina@a.test")[26:])
        self.assertEqual(await self.directory.authenticate("gina", "ldap secret"), "gina@a.test")
        self.slapd.modify(
            f"dn: uid=gina,{BASE}\nchangetype: modify\nreplace: userPassword\nuserPassword: x\n"
        )
        self.assertEqual(await self.directory.authenticate("gina", "ldap secret"), "gina@a.test")
        self.clock.now += CACHE
        self.assertIsNone(await self.directory.authenticate("gina", "ldap secret"))
        self.assertEqual(await self.directory.authenticate("gina", "x"), "gina@a.test")
        self.slapd.modify(f"dn: uid=gina,{BASE}\nchangetype: delete\n")
        self.assertIsNone(await self.directory.authenticate("gina", "x"))

    async def test_app_passwords_and_quotas_of_its_accounts_are_kept_here(self) -> None:
        by_hand = administration(self.config, self.database)
        password = by_hand.add_app_password("Carol@a.test", "telephone", ["imap"])
        self.assertEqual(await self.directory.authenticate("carol", password, service="imap"), "carol@a.test")
        self.assertIsNone(await self.directory.authenticate("carol", password, service="smtp"))
        by_hand.set_quota("carol@a.test", {"storage": 5})
        await self.directory.refresh()
        self.assertEqual(self.directory.quota("carol@a.test"), {"storage": 5})
        by_hand.remove_app_password("carol@a.test", "telephone")
        self.assertIsNone(await self.directory.authenticate("carol", password, service="imap"))

    # Trouble

    async def test_while_it_is_away_nobody_is_unknown(self) -> None:
        await self.resolve("carol@a.test")
        self.away()
        self.clock.now += CACHE
        carol = Resolution(account="carol@a.test")
        self.assertEqual(await self.resolve("carol@a.test"), carol)  # as it was said before
        for text in ("carol+x@a.test", "dave@a.test", "nobody@a.test", "postmaster@a.test"):
            await self.refused(self.resolve(text), 451)
        for login in ("carol", "nobody"):
            await self.refused(self.directory.authenticate(login, "ldap secret"), 454)
            await self.refused(self.directory.account_of_login(login), 454)
        self.assertEqual(await self.resolve("alice@a.test"), Resolution(account="alice@a.test"))
        self.assertEqual(await self.directory.authenticate("alice", "own secret"), "alice@a.test")
        await self.refused(self.directory.authenticate("alice", "wrong"), 454)
        self.clock.now += STALE
        await self.refused(self.resolve("carol@a.test"), 451)
        self.back()
        self.assertEqual(await self.resolve("dave@a.test"), Resolution(account="dave@a.test"))
        self.assertEqual(await self.directory.authenticate("carol", "ldap secret"), "carol@a.test")

    async def test_a_connection_that_was_lost_is_made_anew_at_once(self) -> None:
        await self.resolve("carol@a.test")
        self.slapd.stop()
        self.slapd.start()
        for text in ("dave@a.test", "erin@a.test"):
            self.assertIsNotNone(await self.resolve(text))

    async def test_after_a_failure_it_is_left_alone_for_a_moment(self) -> None:
        self.away()
        tried = []
        search = LdapClient.search
        self.patch(LdapClient, "search", lambda *arguments: tried.append(1) or search(*arguments))
        for _ in range(5):
            await self.refused(self.resolve("carol@a.test"), 451)
        self.assertEqual(len(tried), 1)
        self.clock.now += REST
        await self.refused(self.resolve("carol@a.test"), 451)
        self.assertEqual(len(tried), 2)

    async def test_ways_to_talk_to_it(self) -> None:
        for ldap in (
            {"uri": f"ldap://127.0.0.1:{self.slapd.port}", "starttls": False},
            {"uri": f"ldaps://localhost:{self.slapd.tls_port}"},
            {"account": "{uid}@a.test", "account_filter": "(uid={local})"},
        ):
            await self.started(**ldap)
            self.assertEqual(await self.resolve("carol@a.test"), Resolution(account="carol@a.test"))
            self.assertEqual(await self.directory.authenticate("carol", "ldap secret"), "carol@a.test")

    async def test_ways_that_are_refused_are_temporary_trouble(self) -> None:
        (self.path / "wrong").write_text("wrong\n")
        for ldap in (
            {"authorities": None},
            {"uri": f"ldaps://localhost:{self.slapd.tls_port}", "authorities": None},
            {"uri": f"ldaps://127.0.0.1:{self.slapd.tls_port}"},  # the certificate is for another name
            {"uri": f"ldap://localhost:{self.slapd.tls_port}"},
            {"bind_dn": None, "bind_password_file": None, "base": f"ou=people,{BASE}"},
            {"bind_password_file": "wrong"},
            {"base": "dc=elsewhere,dc=test"},
        ):
            await self.started(**ldap)
            await self.refused(self.resolve("carol@a.test"), 451)
            await self.refused(self.directory.authenticate("carol", "ldap secret"), 454)

    def test_the_command_line(self) -> None:
        shown = cli.main(["--config", str(self.path / "mta.toml"), "account", "quota", "carol@a.test"])
        self.assertEqual(shown, 0)
        shown = cli.main(["--config", str(self.path / "mta.toml"), "account", "quota", "nobody@a.test"])
        self.assertEqual(shown, 1)
        self.away()
        shown = cli.main(["--config", str(self.path / "mta.toml"), "account", "quota", "carol@a.test"])
        self.assertEqual(shown, 1)


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x30\x84\x7f\xff\xff\xff", b"\x30\x00"]
)
def test_a_server_that_speaks_something_else(answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "ANSWERING", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        client = LdapClient(LdapServer("127.0.0.1", port, starttls=False, bind_dn="cn=x", bind_password="y"))
        talker = subprocess.Popen(
            ["python3", "-c", TALKER, str(listening.fileno()), answer.hex()], pass_fds=[listening.fileno()]
        )
        try:
            with pytest.raises(LdapUnavailable):
                client.accepts("cn=carol", "secret")
        finally:
            talker.kill()
            talker.wait()
            client.close()


TALKER = """
import socket, sys
listening = socket.socket(fileno=int(sys.argv[1]))
connections = []
while True:
    connection, _ = listening.accept()
    connections.append(connection)
    connection.sendall(bytes.fromhex(sys.argv[2]))
"""


@pytest.mark.parametrize(
    ("ldap", "sentence"),
    [
        ({"uri": ""}, "uri: missing"),
        ({"uri": "http://localhost"}, "expected"),
        ({"uri": "ldap://"}, "expected"),
        ({"uri": "ldap://localhost:port"}, "expected"),
        ({"uri": "ldap://localhost/dc=a"}, "expected"),
        ({"base": None}, "base: missing"),
        ({"bind_password_file": None}, "goes together"),
        ({"bind_password_file": "nothing"}, "cannot read"),
        ({"alias_targets": None}, "goes together"),
        ({"account_filter": "(mail=x)"}, "account_filter"),
        ({"account_filter": "(mail={login})"}, "account_filter"),
        ({"login_filter": "(mail={address})"}, "login_filter"),
        ({"account": "carol@a.test"}, "account: attributes"),
        ({"starttls": "yes"}, "starttls"),
    ],
)
def test_what_is_refused(tmp_path: Path, ldap: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        config_of(tmp_path, None, **ldap)


def test_a_filter_that_is_none_and_certificates_that_are_none(tmp_path: Path) -> None:
    for ldap, sentence in (
        ({"account_filter": "(mail={address}"}, "account_filter: not a filter"),
        ({"authorities": str(tmp_path / "reader")}, "no certificate"),
    ):
        with pytest.raises(ConfigError, match=sentence):
            build_directory(config_of(tmp_path, None, **ldap), reactor=Passing())


def test_postmaster_has_to_be_named(tmp_path: Path) -> None:
    config_of(tmp_path, None)
    lines = (tmp_path / "mta.toml").read_text().splitlines()
    kept = [line for line in lines if not line.lstrip('"').startswith("postmaster")]
    (tmp_path / "mta.toml").write_text("\n".join(kept))
    with pytest.raises(ConfigError, match="postmaster"):
        load(tmp_path / "mta.toml")
