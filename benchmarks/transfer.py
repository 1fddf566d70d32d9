"""Mail in and out, beside Postfix: `benchmarks/transfer.py [--rounds 3] [--messages 5000] [--only KIND]`.

Both servers stand on the same disk, durable as they come, and are fed by `smtp-source` with 10 sessions and
messages of 4 KiB, in turns, several rounds. The kinds:

kept        accepted onto the disk, on kept connections (`-d`); nothing is delivered
connection  the same with a connection for each message
maildir     accepted, and delivered to a local Maildir; until the last one is there
relay       accepted, queued and relayed to `smtp-sink`; until the last one is there

Messages a second are by the clock on the wall, and mean something on a machine that has nothing else to do;
milliseconds of the processor are those of all processes of the server. What a round leaves is removed at
the end: for some minutes ext4 passes over the inodes of removed files one by one, and would charge that to
the next round. Needs Debian's postfix, and root.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

sys.path.insert(0, str(Path(__file__).resolve().parent))

from servers import cpu_seconds, descendants

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from process import ServerProcess, free_port  # noqa: E402

KINDS = ("kept", "connection", "maildir", "relay")
SESSIONS, SIZE = 10, 4096
PATIENCE = 300.0  # seconds for one round


class Server(Protocol):
    """What is measured."""

    name: str
    port: int
    maildir: Path

    def pids(self) -> list[int]:
        """The processes that work for it now."""

    def stop(self) -> None:
        """The end."""


class Mta:
    """This project. Where nothing is to be delivered its dispatcher is not started."""

    name = "twisted_mta"

    def __init__(self, directory: Path, kind: str, sink: int) -> None:
        self.port = free_port()
        self.maildir = directory / "data/mail/a.test/alice/Maildir/new"
        relay = {"smarthost": f"127.0.0.1:{sink}", "allow_networks": ["127.0.0.0/8"]}
        config = {
            "hostname": "mx.a.test",
            "data_dir": "data",
            "domains": ["a.test"],
            "listen": {"smtp": [f"127.0.0.1:{self.port}"]},
            "relay": relay,
        }
        self.process = ServerProcess(config, directory)
        self.process.add_account("alice@a.test", "secret")
        self.process.start(*_WITHOUT_DISPATCHER if kind in ("kept", "connection") else ())

    def pids(self) -> list[int]:
        return [self.process.pid]

    def stop(self) -> None:
        self.process.terminate()


# `env` sets what the interpreter imports before anything else.
_WITHOUT_DISPATCHER = ("env", f"PYTHONPATH={ROOT}:{ROOT / 'benchmarks/without_dispatcher'}")


class Postfix:
    """Postfix as Debian packages it, with a queue of its own."""

    name = "Postfix"

    def __init__(self, directory: Path, kind: str, sink: int) -> None:
        self.port = free_port()
        self._config = directory / "config"
        self.maildir = directory / "mail/alice/new"
        for name in ("config", "queue", "data", "mail"):
            (directory / name).mkdir(parents=True)
        shutil.chown(directory / "data", "postfix")
        shutil.chown(directory / "mail", "nobody", "nogroup")
        hold = (
            "smtpd_end_of_data_restrictions = check_client_access static:HOLD"
            if kind in ("kept", "connection")
            else ""
        )
        (self._config / "main.cf").write_text(
            f"""
compatibility_level = 3.6
queue_directory = {directory}/queue
data_directory = {directory}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
myhostname = px.a.test
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
alias_maps =
alias_database =
virtual_mailbox_domains = a.test
virtual_mailbox_base = {directory}/mail
virtual_mailbox_maps = static:alice/
virtual_uid_maps = static:{os.stat(directory / "mail").st_uid}
virtual_gid_maps = static:{os.stat(directory / "mail").st_gid}
relayhost = [127.0.0.1]:{sink}
smtpd_client_connection_rate_limit = 0
smtpd_client_connection_count_limit = 0
default_process_limit = 100
{hold}
"""
        )
        master = Path("/etc/postfix/master.cf.proto").read_text()
        master = re.sub(r"^smtp +inet .*$", f"127.0.0.1:{self.port} inet n - n - - smtpd", master, flags=re.M)
        master = re.sub(r"^(\S+ +(?:unix|fifo|inet) +\S+ +\S+ +)y", r"\1n", master, flags=re.M)
        (self._config / "master.cf").write_text(master)
        subprocess.run(["postfix", "-c", str(self._config), "start"], check=True, capture_output=True)
        self._master = int((directory / "queue/pid/master.pid").read_text())

    def pids(self) -> list[int]:
        return descendants(self._master)

    def stop(self) -> None:
        subprocess.run(["postfix", "-c", str(self._config), "stop"], check=True, capture_output=True)


class Sink:
    """`smtp-sink`, which tells how many messages it has seen."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self._counted = directory / "sink"
        self._process = subprocess.Popen(
            ["smtp-sink", "-c", "-u", "nobody", f"127.0.0.1:{self.port}", "1000"],
            stdout=self._counted.open("wb"),
        )

    @property
    def messages(self) -> int:
        """So far."""
        with self._counted.open("rb") as file:
            file.seek(max(0, self._counted.stat().st_size - 200))
            found = re.findall(rb"mesg=(\d+)", file.read())
        return int(found[-1]) if found else 0

    def stop(self) -> None:
        """The end."""
        self._process.terminate()
        self._process.wait()


def measure(
    make: Callable[[Path, str, int], Server], kind: str, messages: int, room: Path
) -> tuple[float, float]:
    """Messages a second, and milliseconds of the processor for each. `room`: where a directory is made."""
    directory = Path(tempfile.mkdtemp(dir=room))
    directory.chmod(0o755)
    sink = Sink(directory)
    server = make(directory / "server", kind, sink.port)
    try:
        time.sleep(1.0)
        before, began = cpu_seconds(server), time.monotonic()
        subprocess.run(_source(kind, server.port, messages), check=True)
        _wait_for(kind, server, sink, messages)
        took, used = time.monotonic() - began, cpu_seconds(server) - before
    finally:
        server.stop()
        sink.stop()
    return messages / took, used / messages * 1000


def _source(kind: str, port: int, messages: int) -> list[str]:
    to = "bob@far.test" if kind == "relay" else "alice@a.test"
    kept = [] if kind == "connection" else ["-d"]
    numbers = ["-s", str(SESSIONS), "-m", str(messages), "-l", str(SIZE)]
    return ["smtp-source", *kept, *numbers, "-f", "ann@c.test", "-t", to, f"127.0.0.1:{port}"]


def _wait_for(kind: str, server: Server, sink: Sink, messages: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while kind in ("maildir", "relay") and time.monotonic() < deadline:
        arrived = sink.messages if kind == "relay" else len(os.listdir(server.maildir))
        if arrived >= messages:
            return
        time.sleep(0.05)
    if kind in ("maildir", "relay"):
        raise TimeoutError(f"{server.name}: {arrived} of {messages} messages arrived")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--messages", type=int, default=5000)
    parser.add_argument("--only", choices=KINDS)
    parser.add_argument("--ours", action="store_true", help="without Postfix")
    options = parser.parse_args()
    makers: list[type[Mta] | type[Postfix]] = [Mta] if options.ours else [Postfix, Mta]
    print(f"{'':12}{'':14}{'messages/s':>12}{'CPU ms each':>14}   rounds")
    with tempfile.TemporaryDirectory(prefix="transfer-") as name:
        room = Path(name)
        room.chmod(0o755)
        for kind in KINDS if options.only is None else (options.only,):
            results: dict[str, list[tuple[float, float]]] = {make.name: [] for make in makers}
            for _ in range(options.rounds):
                for make in makers:
                    results[make.name].append(measure(make, kind, options.messages, room))
            _report(kind, results)


def _report(kind: str, results: dict[str, list[tuple[float, float]]]) -> None:
    medians = []
    for name, rounds in results.items():
        rate, cost = (statistics.median(values) for values in zip(*rounds, strict=True))
        medians.append((rate, cost))
        each = "  ".join(f"{r:.0f}/{c:.2f}" for r, c in rounds)
        print(f"{kind:12}{name:14}{rate:12.0f}{cost:14.2f}   {each}", flush=True)
    if len(medians) == 2:
        (rate, cost), (our_rate, our_cost) = medians
        print(f"{'':12}{'ratio':14}{our_rate / rate:12.1f}{our_cost / cost:14.2f}", flush=True)


if __name__ == "__main__":
    main()
