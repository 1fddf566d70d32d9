"""A machine with a network of a test's own, in which every port is free, and the world outside of it: two of
Linux's network namespaces with a wire between. The calling thread moves there with all that it starts,
processes and threads."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from programs import program

_CLONE_NEWNET = 0x40000000  # <sched.h>
_system = ctypes.CDLL(None, use_errno=True)


class OwnNetwork:
    """`address` is the machine's, `others` are the world's; all there is beside them refuses connections. The
    thread is at the machine from now on."""

    def __init__(self, address: str, *others: str) -> None:
        """Skips the test where all that is not allowed."""
        self._places: list[int] = []
        self._moved = False
        self._ip = program("ip")
        self._before = _here()
        try:
            self._outside = self._new_place()
            self._inside = self._new_place()
            path = f"/proc/{os.getpid()}/fd/{self._outside}"
            self._run(f"link add wire type veth peer name wire netns {path}")
            self._run(f"address add {address}/32 dev wire")
            self._run("link set wire up")
            self._run(f"route add default dev wire src {address}")
            with self.outside():
                self._run("link set wire up")
                for other in others:
                    self._run(f"address add {other}/32 dev lo")
                self._run(f"route add {address}/32 dev wire")
                self._run("route add local default dev lo table main")
        except BaseException:
            self.leave()
            raise

    def leave(self) -> None:
        """Back to where the thread was before."""
        if self._moved:  # who may not leave may not come back either
            _go(self._before)
        for place in (*self._places, self._before):
            os.close(place)

    @contextmanager
    def outside(self) -> Iterator[None]:
        """In the world for a while."""
        with _elsewhere(self._outside):
            yield

    @contextmanager
    def inside(self) -> Iterator[None]:
        """At the machine for a while."""
        with _elsewhere(self._inside):
            yield

    def _new_place(self) -> int:
        if _system.unshare(_CLONE_NEWNET):
            _skip(os.strerror(ctypes.get_errno()))
        self._moved = True
        self._run("link set lo up")
        self._places.append(_here())
        return self._places[-1]

    def _run(self, line: str) -> None:
        done = subprocess.run([self._ip, *line.split()], capture_output=True, text=True, check=False)
        if done.returncode:
            _skip(f"ip {line}: {done.stderr.strip()}")


def _skip(why: str) -> None:
    pytest.skip(f"no network of its own can be had here, only root may make one: {why}")


def _here() -> int:
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY)


def _go(place: int) -> None:
    if _system.setns(place, _CLONE_NEWNET):
        pytest.exit(f"lost in a network of its own: {os.strerror(ctypes.get_errno())}")


@contextmanager
def _elsewhere(place: int) -> Iterator[None]:
    before = _here()
    _go(place)
    try:
        yield
    finally:
        _go(before)
        os.close(before)
