"""Files: mbox, what other servers leave in a Maildir, names on disk, the configuration, resolv.conf."""

from __future__ import annotations

import io
import os
import tempfile
import tomllib
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote

from harness import harness

from twisted_mta.backup.manifest import entry_of
from twisted_mta.resolver.name_servers import NameServer, host_and_port, read_resolv_conf
from twisted_mta.service.options.complaint import ConfigError
from twisted_mta.service.options.config import decode, load
from twisted_mta.service.options.quantities import (
    Domain,
    Duration,
    Frequency,
    ListenAddress,
    MailAddress,
    Network,
    Size,
)
from twisted_mta.store import names
from twisted_mta.store.errors import BadMailboxName
from twisted_mta.store.exchange.mbox import NOBODY, Marks, Mbox, write_mbox
from twisted_mta.store.flags import tail_bits, tail_with_bits
from twisted_mta.store.keyword_file import LETTERS, read_keywords
from twisted_mta.store.maildir import base_name, seconds_in
from twisted_mta.store.scripts import BadScriptName, Scripts
from twisted_mta.store.take_over import BadList, read_courier_keywords, read_subscriptions, read_uid_list


@harness(
    words=rb"""
        From\_a\_Thu\_Jan\_1\_00:00:00\_1970\n From\_- \nFrom\_ >From\_ >>From\_ Status:\_RO\n
        X-Status:\_A\n X-Keywords:\_a\n \n\n Date:\_ FOLDER\_INTERNAL\_DATA X-IMAPbase: \r\n
    """,
    longest=16384,
)
def mbox_files(data):
    """Any file is messages with their marks; no octet is told twice; a message that is written comes
    back as it was, alone and between others."""
    octets = 0
    mbox = Mbox(io.BytesIO(data))
    for message in mbox:
        octets += sum(map(len, message.content()))
        assert message.marks.date is None or isinstance(message.marks.date, float)
    assert octets + mbox.passed_over <= len(data)
    content = data.replace(b"\r\n", b"\n")
    marks = Marks(86400.0, 0, frozenset({"key"}), True)
    file = io.BytesIO()
    for one in (b"A: b\n\nx\n", content, b"C: d\n\ny\n"):
        write_mbox(file, marks, NOBODY, [one])
    file.seek(0)
    told = [(message.marks, b"".join(message.content())) for message in Mbox(file)]
    whole = content if content.endswith(b"\n") or not content else content + b"\n"
    assert told == [(marks, b"A: b\n\nx\n"), (marks, whole), (marks, b"C: d\n\ny\n")]


@harness(
    words=rb"""
        3\_V1\_N5\_Gabc\n 1\_7\_9\n 1\_:a\n 2\_W5\_:b,S=1:2,S\n 4294967295 V\t2\n INBOX. \x01t
        a:0\_1\n\n key 0\_$Forwarded\n 25\_z\n &AOk- .a.b \x5c2e
    """,
    longest=8192,
    tests=40,
)
def files_of_other_servers(data):
    """A list of UIDs ascends and is in bounds, or is BadList; subscriptions, keywords and letters of
    Dovecot and Courier are names that can be."""
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        (place / "courierimapkeywords").mkdir()
        for name in (
            *("dovecot-uidlist", "dovecot-keywords", "subscriptions", "courierimapsubscribed"),
            *("courierimapkeywords/:list", "courierimapkeywords/1.a.b"),
        ):
            (place / name).write_bytes(data)
        try:
            found = read_uid_list(f"{directory}/dovecot-uidlist")
        except BadList as error:
            assert ascii(str(error))
        else:
            uids = list(found.uids.values())
            assert all(0 < uid < found.uid_next for uid in uids) and 0 < found.uid_validity < 2**32
        for name in read_subscriptions(directory) or ():
            assert names.canonical_name(name) == name
        for keywords in read_courier_keywords(directory).values():
            assert all(keyword.isascii() and " " not in keyword for keyword in keywords)
        assert set(read_keywords(directory)) <= set(LETTERS)


@harness(
    words=rb"""
        &AOk- INBOX \x5c2e \x5c2f \x5c5c .. . / &- \xc3\xa9 e\xcc\x81 :2,FS ,S=12:2,Sa ,W=
        1700000000.M1P2.host
    """,
    longest=600,
)
def mailbox_and_file_names(data):
    """A mailbox name is refused, or has one directory that leads back to it and not out of the Maildir;
    a directory found has a name in canonical form; an account's directory stays inside; flags in a
    file's name are kept."""
    text = data.decode("utf-8", "surrogateescape")
    try:
        name = names.canonical_name(text)
        directory = names.directory_of(name)
    except BadMailboxName:
        pass
    else:
        assert names.canonical_name(name) == name
        assert "/" not in directory and directory not in (".", "..")
        assert name == names.INBOX or names.name_of(directory) == name
    found = names.name_of("." + text.replace("/", "").replace("\0", ""))
    assert found is None or names.canonical_name(found) == found
    try:
        for part in names.account_directory(text):
            assert "/" not in part and part.isascii() and part not in ("", ".", "..")
    except BadMailboxName:
        pass
    with suppress(BadScriptName):
        path = Scripts(Path("/home"))._path(text)
        assert str(path.parent) == "/home/sieve" and path.name not in ("active", ".", "..")
        assert unquote(path.name.removesuffix(".sieve")) == text and len(os.fsencode(path.name)) <= 255
    base = base_name(text)
    assert text.startswith(base) and ":" not in base and seconds_in(text) >= 0
    tail = text[len(base) :]
    bits = tail_bits(tail)
    assert tail_bits(tail_with_bits(tail, bits)) == bits


@harness(
    words=rb"""
        {"path":"mail/a" ,"size":12 ,"mode":384 ,"sha256":"00" ,"modified":1 ,"stamp":[1,2] ,"kind":"link"
        ,"target":"x" ../ / \\u0000 \\ud800 null true 1e999 NaN [[[[[[[[[[ -1
    """,
    longest=2048,
    tests=60,
)
def manifest_lines(data):
    """A line of a snapshot's manifest is an entry of the right types, which stays inside and is written so
    that it is read as the same; or ValueError."""
    try:
        entry = entry_of(data.decode("ascii", "replace"))
    except ValueError as error:
        assert str(error)
        return
    inside = os.path.normpath(f"/snapshot/{entry.path}")
    assert inside == f"/snapshot/{entry.path}" and inside.startswith("/snapshot/"), entry.path
    assert "\0" not in entry.path and entry.kind in ("file", "database", "link", "directory")
    assert all(isinstance(number, int) for number in (entry.size, entry.modified, entry.mode, *entry.stamp))
    assert isinstance(entry.sha256, str) and isinstance(entry.target, str)
    assert entry_of(entry.line()) == entry


TABLES = (
    "listen",
    "tls",
    "auth",
    "relay",
    "dns",
    "queue",
    "quota",
    "limits",
    "abuse",
    "web",
    "trust",
    "sieve",
)


@harness(
    words=rb"""
        hostname\_=\_"mx.a.test"\n domains\_=\_["a.test"]\n data_dir\_=\_"data"\n [listen]\n
        smtp\_=\_["0.0.0.0:25"]\n [relay]\n smarthost [tls] self_signed\_=\_true [queue] "10m" "5d"
        [limits] [dns] nameservers [quota] storage\_=\_"1G" [dkim] [dmarc] [filter] [filter.rspamd]
        [auth] [auth.oauth] [auth.ldap] 1e400 [[x]] \x5cu0000 999999999999 inf -1 2020-01-01 {} "%"
        [submission] [reports] [proxy] [web] [metrics] [abuse] roles
    """,
    longest=16384,
    tests=20,
)
def configuration(data):
    """TOML becomes a configuration or ConfigError, which says what is wrong, as a table and as a file; a key
    that nobody knows is refused by its name wherever it stands; quantities that were read are in bounds."""
    text = data.decode("utf-8", "replace")
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError):
        table = {}
    try:
        decode(table)
    except ConfigError as error:
        assert str(error) and len(str(error)) < 5000 + 10 * len(data)
    else:
        for section in (table, *(table[name] for name in TABLES if isinstance(table.get(name), dict))):
            section["of_nobody"] = 1
            try:
                decode(table)
            except ConfigError as error:
                assert "of_nobody" in str(error), error
            else:
                raise AssertionError("a key that nobody knows is taken")
            del section["of_nobody"]
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "mta.toml"
            path.write_bytes(data)
            try:
                config = load(path)
            except ConfigError as error:
                assert str(error).startswith(str(path))
            else:
                assert config.data_dir.startswith("/") and all(map(str.isascii, config.domains))
    for kind in (Duration, Size, Frequency, Domain, MailAddress, Network, ListenAddress):
        for value in (text, text[:12], text.strip()):
            try:
                kind.read(value)
            except ValueError as error:
                assert str(error)
    servers, _ = read_resolv_conf(text)
    assert servers
    for work in (NameServer.of, lambda each: host_and_port(each, 53)):
        try:
            work(text)
        except ValueError:
            pass
