"""Attacks on the transfer side: what hostile clients, a full house and a bad environment must not achieve."""

from __future__ import annotations

import base64
import contextlib
import shutil
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from line_client import LineClient
from office import PASSWORD, Office, running_office
from process import NotReady, ServerProcess, free_port
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from twisted_mta.message.headers import fields
from twisted_mta.resolver import DnsResolver, ResolutionError
from twisted_mta.service.options.complaint import ConfigError
from twisted_mta.service.options.config import load
from twisted_mta.transfer.session import separator

LARGE = b"Subject: large\r\n\r\n" + (b"x" * 76 + b"\r\n") * 8000  # a spool file in the queue
SMALL = b"Subject: small\r\n\r\nx\r\n"


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    with running_office(tmp_path_factory.mktemp("office"), auth={"allow_cleartext": True}) as office:
        yield office


def smtp(office: Office, service: str = "smtp") -> LineClient:
    client = LineClient(office.ports[service])
    assert client.reply().startswith(b"220")
    assert client.say(b"EHLO client.test").startswith(b"250")
    return client


def begin(client: LineClient, sender: bytes = b"", recipient: bytes = b"alice@a.test") -> None:
    assert client.say(b"MAIL FROM:<" + sender + b">").startswith(b"250")
    assert client.say(b"RCPT TO:<" + recipient + b">").startswith(b"250")
    assert client.say(b"DATA").startswith(b"354")


def send(client: LineClient, content: bytes, **envelope: bytes) -> bytes:
    begin(client, **envelope)
    client.send(content + b".\r\n")
    return client.reply()


def reset(client: LineClient) -> None:
    """Cut the connection with RST, as a crashed client or a NAT box does."""
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def submit(office: Office, content: bytes) -> bytes:
    with smtp(office, "submission") as client:
        plain = base64.b64encode(f"\0alice@a.test\0{PASSWORD}".encode())
        assert client.say(b"AUTH PLAIN " + plain).startswith(b"235")
        return send(client, content, sender=b"alice@a.test", recipient=b"bob@a.test")


# What one message may cost


def test_a_from_of_thousands_is_refused(office: Office) -> None:
    """It would keep the reactor busy, and every address in it would be looked up."""
    many = b"From: " + b"alice@a.test,\r\n " * 12_000 + b"alice@a.test\r\n\r\nx\r\n"
    assert submit(office, many).startswith(b"554 5.6.0")
    assert submit(office, b"From: alice@a.test, Alice@a.test\r\n\r\nx\r\n").startswith(b"250")


@settings(max_examples=200)
@given(st.lists(st.sampled_from([b"a", b" ", b"\t", b":", b"\r\n", b"\x00", b"\xff", b"x: y"]), max_size=12))
def test_one_search_finds_what_reading_all_fields_finds(pieces: list[bytes]) -> None:
    header = b"x" + b"".join(pieces).partition(b"\r\n\r\n")[0]  # a block has no empty line within
    assert (separator(header) == b"") == any(field.name for field in fields(header))


# Connections that end badly


def test_clients_that_reset_leave_nothing_behind(tmp_path: Path) -> None:
    """RST in every state, also with a spool file half written, whole, or being committed."""
    with running_office(tmp_path) as office:
        for content in (b"", SMALL, LARGE, SMALL + b".\r\n", LARGE + b".\r\n"):
            for _ in range(5):
                client = smtp(office)
                begin(client)
                client.send(content)
                reset(client)
        for words in ((), (b"MAIL FROM:<>",), (b"MAIL FROM:<>", b"RCPT TO:<alice@a.test>"), (b"STARTTLS",)):
            client = smtp(office)
            for word in words:
                client.say(word)
            reset(client)
        with smtp(office) as client:
            assert send(client, SMALL, recipient=b"bob@a.test").startswith(b"250")
        with office.reader("bob@a.test") as reader:
            reader.wait_for(1)
    queued = office.process.mta("queue", "list").stdout
    assert len(list((tmp_path / "data/queue/spool").iterdir())) <= queued.count("octets  from")


def test_every_transaction_is_answered_when_the_server_stops_under_load(tmp_path: Path) -> None:
    """Acceptance 10, small: 250 or 421 to each, and what got 250 is in the mailbox once."""
    accepted = threading.Semaphore(0)
    answers: list[bytes] = []

    def load_it(office: Office, content: bytes) -> None:
        with smtp(office) as client:
            while True:
                for command in (b"MAIL FROM:<>", b"RCPT TO:<bob@a.test>", b"DATA", content + b"."):
                    answer = client.say(command)
                    if answer[:1] not in (b"2", b"3"):
                        return answers.append(answer[:3])
                assert answer.startswith(b"250")
                answers.append(b"250")
                accepted.release()

    with running_office(tmp_path) as office:
        clients = [threading.Thread(target=load_it, args=(office, SMALL)) for _ in range(8)]
        for client in clients:
            client.start()
        for _ in range(50):
            assert accepted.acquire(timeout=60)
        office.process.ask_to_stop()
        for client in clients:
            client.join(60)
        assert sorted(answers)[-8:] == [b"421"] * 8
        office.process.terminate()
        office.process.start()
        count = answers.count(b"250")
        with office.reader("bob@a.test") as reader:
            reader.wait_for(count)
            reader.imap.noop()
            assert reader.count == count


def test_with_few_file_descriptors_clients_are_shed_and_come_back(tmp_path: Path) -> None:
    """Acceptance 7: 64 descriptors, 200 clients."""
    office = Office(tmp_path, limits={"connections_per_host": 1000})
    office.process.start("prlimit", "--nofile=64:64")
    try:
        greeted: list[LineClient] = []
        shed = 0
        for _ in range(200):
            client = LineClient(office.ports["smtp"])
            try:
                greeting = client.line()
            except ConnectionResetError:
                greeting = b""
            if greeting.startswith(b"220"):
                greeted.append(client)
            else:
                shed += 1
                client.close()
        assert greeted and shed
        assert all(client.say(b"NOOP").startswith(b"250") for client in greeted)
        for client in greeted:
            assert client.say(b"QUIT").startswith(b"221")
            assert client.at_end()
        with smtp(office) as client:
            assert send(client, LARGE).startswith(b"250")
        with office.reader("alice@a.test") as reader:
            reader.wait_for(1)
    finally:
        office.process.terminate()
    assert "Traceback" not in office.process.log_text()


class DeadNameServer(TestCase):
    """With hundreds of domains due and a DNS that is silent, the server must still stop."""

    async def test_stopping_asks_none_of_the_questions_that_still_wait(self) -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))
            silent.setblocking(False)
            resolver = DnsResolver(
                [f"127.0.0.1:{silent.getsockname()[1]}"],
                reactor=reactor,
                timeout=0.1,
                lifetime=0.1,
                most=1,
            )
            await resolver.start()
            questions = [Deferred.fromCoroutine(resolver.mx(f"d{number}.test")) for number in range(20)]
            await resolver.stop()
            for question in questions:
                await self.assertFailure(question, ResolutionError)
            asked = set()
            with contextlib.suppress(BlockingIOError):
                while True:
                    asked.add(silent.recv(512)[12:])
        assert len(asked) <= 2, len(asked)


# A bad environment is told in one sentence


def config(directory: Path, data_dir: str = "data") -> str:
    return (
        f'hostname = "mx.a.test"\ndata_dir = "{data_dir}"\ndomains = ["a.test"]\n'
        f'[listen]\nsmtp = ["127.0.0.1:{free_port()}"]\n'
    )


@pytest.mark.parametrize("taken", ["lock", "queue", "queue/lock", "queue/queue.sqlite", "directory.sqlite"])
def test_files_that_cannot_be_used_are_one_sentence(tmp_path: Path, taken: str) -> None:
    """As after a start by the wrong user; a directory or a file in their place refuses root, too."""
    place = tmp_path / "data" / taken
    if taken == "queue":
        place.parent.mkdir()
        place.touch()
    else:
        place.mkdir(parents=True)
    server = ServerProcess(config(tmp_path), tmp_path)
    with pytest.raises(NotReady) as refused:
        server.start()
    assert "Traceback" not in str(refused.value)
    assert str(place) in str(refused.value) or "data_dir: the queue cannot use" in str(refused.value)


@pytest.mark.parametrize("data_dir", ["mta.toml", "a\\u0000b", "x" * 5000, "~nobody-of-this-name/data"])
def test_a_data_dir_that_cannot_be_is_refused(tmp_path: Path, data_dir: str) -> None:
    path = tmp_path / "mta.toml"
    path.write_text(config(tmp_path, data_dir))
    with pytest.raises(ConfigError):
        load(path)


def test_an_address_that_needs_quotes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mta.toml"
    path.write_text(config(tmp_path) + '[demo]\naccounts = ["\\"a b\\"@a.test"]\n')
    with pytest.raises(ConfigError, match=r"demo\.accounts"):
        load(path)


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "mta.toml"
    path.write_text(config(tmp_path), encoding="utf-8-sig")
    assert load(path).hostname == "mx.a.test"


def test_a_directory_that_cannot_be_read_anew_is_a_temporary_refusal(tmp_path: Path) -> None:
    """Any change makes the server read it anew; then the file is not there to be opened."""
    with running_office(tmp_path) as office, smtp(office) as client:
        assert client.say(b"MAIL FROM:<>").startswith(b"250")
        office.process.add_account("carol@a.test", PASSWORD)
        file, aside = tmp_path / "data/directory.sqlite", tmp_path / "aside.sqlite"
        file.rename(aside)
        file.mkdir()
        assert client.say(b"RCPT TO:<carol@a.test>").startswith(b"451 4.3.0")
        shutil.rmtree(file)
        aside.rename(file)
        assert client.say(b"RCPT TO:<carol@a.test>").startswith(b"250")
