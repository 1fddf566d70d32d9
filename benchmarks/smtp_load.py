"""Messages of one size over a few sessions: by Postfix's `smtp-source`, and where that is missing by threads
here, which cannot keep a fast server busy (the processor time of the server is right all the same)."""

from __future__ import annotations

import socket
import subprocess
import threading

from benchmarks.peers import program

SESSIONS, SIZE = 10, 4096
_SENDER = "ann@c.test"


def send(port: int, messages: int, to: str, *, kept: bool = True) -> None:
    """All of them; `kept`: over connections that stay, otherwise one for each. Raises RuntimeError when the
    server refuses."""
    source = program("smtp-source")
    if source is None:
        _threads(port, messages, to, kept)
        return
    numbers = ["-s", str(SESSIONS), "-m", str(messages), "-l", str(SIZE), *(["-d"] if kept else [])]
    command = [source, *numbers, "-f", _SENDER, "-t", to, f"127.0.0.1:{port}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"smtp-source: {done.stderr[-200:]}")


def _threads(port: int, messages: int, to: str, kept: bool) -> None:
    failed: list[Exception] = []

    def work(count: int) -> None:
        try:
            while count:
                at_once = count if kept else 1
                _session(port, at_once, to)
                count -= at_once
        except (OSError, RuntimeError) as error:
            failed.append(error)

    shares = [messages // SESSIONS + (number < messages % SESSIONS) for number in range(SESSIONS)]
    threads = [threading.Thread(target=work, args=(share,)) for share in shares]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise RuntimeError(str(failed[0]))


def _session(port: int, messages: int, to: str) -> None:
    line = b"X" * 78 + b"\r\n"
    content = b"Subject: load\r\n\r\n" + line * (SIZE // len(line)) + b".\r\n"
    with socket.create_connection(("127.0.0.1", port)) as connection, connection.makefile("rb") as answers:

        def say(data: bytes, wanted: bytes) -> None:
            connection.sendall(data)
            while (answer := answers.readline())[3:4] == b"-":
                pass
            if not answer.startswith(wanted):
                raise RuntimeError(answer.decode("latin-1"))

        say(b"", b"220")
        say(b"EHLO c.test\r\n", b"250")
        for _ in range(messages):
            say(f"MAIL FROM:<{_SENDER}>\r\n".encode(), b"250")
            say(f"RCPT TO:<{to}>\r\n".encode(), b"250")
            say(b"DATA\r\n", b"354")
            say(content, b"250")
        say(b"QUIT\r\n", b"221")
