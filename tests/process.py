"""The real server as a process of its own, for tests that need one.

`twistd -n --pidfile= mta --config FILE` runs with the interpreter that runs the tests; ready is when its log
says so. The administration goes through the `mta` command line, as an administrator's would.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import io
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from twisted_mta.service.commands.cli import main

ROOT = Path(__file__).resolve().parent.parent
READY = "-: ready"  # in the server's log
PATIENCE = 60.0  # seconds to start or to stop, on a slow machine
_given: set[int] = set()  # by free_port


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port at which nothing listens now, and that is nobody else's as long as this process lives: it
    was not given before, and tests that run in other processes of this user keep away from it. It is below
    those that the system gives to connections: while a server is restarted, none of its clients may come by
    its port."""
    while True:
        port = random.SystemRandom().randrange(10_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((host, port))
            fcntl.lockf(_ports(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
            if port not in _given:
                _given.add(port)
                return port


@functools.cache
def _ports() -> IO[bytes]:
    """A file without content, whose octet N is locked by who was given port N. Never closed: that would
    unlock all of them."""
    return open(Path(tempfile.gettempdir()) / f"twisted_mta-test-ports-{os.getuid()}", "ab")


class NotReady(Exception):
    """The server ended, or said nothing, instead of getting ready."""


class ServerProcess:
    """One server. `config` is TOML text or the same as a dict; it is written to `directory`/mta.toml, so
    relative paths in it are below `directory`. `role`: one of the two processes it may be made of."""

    def __init__(self, config: str | Mapping[str, Any], directory: Path, role: str = "") -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.config = directory / "mta.toml"
        self.config.write_text(config if isinstance(config, str) else to_toml(config), encoding="utf-8")
        self._role = ["--role", role] if role else []
        self._log = directory / f"server{role and f'-{role}'}.log"
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._news = threading.Condition()
        self._lines: list[str] = []  # of the running process
        self._ended = True

    def __enter__(self) -> ServerProcess:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.terminate()

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None
        return self._process.pid

    def start(self, *wrapper: str) -> None:
        """Returns when everything listens. `wrapper` is put in front of the command, for example
        ("strace", "-f", "-o", FILE). Raises NotReady, with the log."""
        twistd = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()"]
        self._ended, self._lines = False, []
        self._process = subprocess.Popen(
            [*wrapper, *twistd, "-n", "--pidfile=", "mta", "--config", str(self.config), *self._role],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="backslashreplace",
            env=environment(),
            cwd=self.directory,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()
        try:
            self.wait_for(READY)
        except TimeoutError:
            self.kill9()
            raise NotReady(self.log_text()) from None

    def wait_for(self, text: str) -> str:
        """The first line of this start's log with `text` in it, as soon as it is there. Raises TimeoutError
        when it does not come, or cannot come any more."""
        seen = 0
        with self._news:
            while True:
                for line in self._lines[seen:]:
                    if text in line:
                        return line
                seen = len(self._lines)
                if self._ended or not self._news.wait(PATIENCE):
                    raise TimeoutError(f"{text!r} is not in the log")

    def eventually(self, told: Callable[[], bool]) -> bool:
        """Whether it comes true in time: looked at whenever there is news in the log, and now and then."""
        deadline = time.monotonic() + PATIENCE
        while not (true := told()) and time.monotonic() < deadline:
            with self._news:
                self._news.wait(0.05)
        return true

    def ask_to_stop(self) -> None:
        """SIGTERM, as an administrator stops it, without waiting for the end."""
        os.kill(self.pid, signal.SIGTERM)

    def terminate(self) -> int:
        """SIGTERM, then waits for the end. The exit code; 0 when it did not run."""
        return self._end(signal.SIGTERM)

    def kill9(self) -> None:
        """The end without warning."""
        self._end(signal.SIGKILL)

    @property
    def running(self) -> bool:
        """Whether there is a process that has not ended."""
        return self._process is not None and self._process.poll() is None

    def log_text(self) -> str:
        """All that was written to the log, over all starts; complete once the process has ended."""
        return self._log.read_text(encoding="utf-8") if self._log.exists() else ""

    def mta(
        self, *arguments: str, stdin: str = "", process: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run `mta --config FILE arguments…`; the result may be a refusal. `process`: as one of its own,
        where that is the matter; it costs several times as much. Without it, not from several threads."""
        command = ["--config", str(self.config), *arguments]
        if not process:
            return _mta_here(command, stdin)
        return subprocess.run(
            [sys.executable, "-m", "twisted_mta.service.commands.cli", *command],
            input=stdin,
            capture_output=True,
            text=True,
            env=environment(),
            timeout=PATIENCE,
            check=False,
        )

    def add_account(self, address: str, password: str, *, process: bool = False) -> None:
        """`mta account add`, whether the server runs or not."""
        given = f"{password}\n"
        command = ("account", "add", address, "--password-stdin", "--any-password")
        done = self.mta(*command, stdin=given, process=process)
        assert done.returncode == 0, done.stderr

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with self._log.open("a", encoding="utf-8") as log:
            for line in process.stdout:
                log.write(line)
                log.flush()
                with self._news:
                    self._lines.append(line)
                    self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def _end(self, number: signal.Signals) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        if process.poll() is None:
            os.killpg(process.pid, number)
        try:
            code = process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(PATIENCE)
            raise
        finally:
            assert self._reader is not None
            self._reader.join(PATIENCE)
            assert process.stdout is not None
            process.stdout.close()
        return code


def _mta_here(command: list[str], stdin: str) -> subprocess.CompletedProcess[str]:
    """`mta` as a function of this process: the same words, the same exit code."""
    output, errors = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    umask, before = os.umask(0o077), sys.stdin
    os.umask(umask)
    sys.stdin = io.TextIOWrapper(io.BytesIO(stdin.encode()), encoding="utf-8")
    code: int | str | None
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            code = main(command)
    except SystemExit as end:  # of argparse
        code = end.code
    finally:
        sys.stdin = before
        os.umask(umask)
    assert isinstance(code, int)
    said = [stream.buffer.getvalue().decode() for stream in (output, errors)]
    return subprocess.CompletedProcess(command, code, *said)


def environment() -> dict[str, str]:
    """The tests' own, with the project found whether it is installed or not."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


def to_toml(table: Mapping[str, Any], path: str = "") -> str:
    """A nested dict as TOML: plain values first, then the tables."""
    lines = [f"[{path}]"] if path else []
    inner = {key: value for key, value in table.items() if isinstance(value, Mapping)}
    lines += [f"{json.dumps(key)} = {json.dumps(value)}" for key, value in table.items() if key not in inner]
    for key, value in inner.items():
        name = json.dumps(key)
        lines.append(to_toml(value, f"{path}.{name}" if path else name))
    return "\n".join(lines) + "\n"
