"""The issuer's keys, from a file or an https URL: read when they are needed, read again when they may have
changed.

An issuer changes its keys without a word; a token that names an unknown one is the sign (RFC 7517 §4.5).
Since anybody can send such tokens, keys are fetched once in SOON at most. While the issuer cannot be
reached, the keys it had stay good for a day.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorThreads
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from twisted_mta.directory.oauth.jwt import VerificationKey, read_key_set
from twisted_mta.https import FetchError, HttpsClient
from twisted_mta.shared_questions import SharedQuestions

MAX_OCTETS = 256 * 1024
OLD = 3600.0  # seconds after which keys are read anew, without a sign
SOON = 60.0  # seconds before they are read again, whatever the sign and whatever came of it
STALE = 86400.0  # seconds for which keys that cannot be read anew are believed

Keys = tuple[VerificationKey, ...]


class KeysUnknown(Exception):
    """There are no keys at the moment. Says why."""


class Source(Protocol):
    """Where keys come from."""

    async def read(self) -> bytes:
        """The JWK set. Raises OSError or FetchError."""


class KeyFile:
    """A file, that may be replaced at any time."""

    def __init__(self, path: str, *, reactor: IReactorThreads) -> None:
        self._path = Path(path)
        self._reactor = reactor

    async def read(self) -> bytes:
        """See Source."""
        content: bytes = await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), self._read)
        return content

    def _read(self) -> bytes:
        with self._path.open("rb") as file:
            return file.read(MAX_OCTETS + 1)


class KeyUrl:
    """An https URL."""

    def __init__(self, url: str, *, https: HttpsClient) -> None:
        self._url = url
        self._https = https

    async def read(self) -> bytes:
        """See Source."""
        content, _ = await self._https.get(self._url, limit=MAX_OCTETS)
        return content


class KeySet:
    """`seconds` is the clock."""

    log = Logger(namespace="twisted_mta.directory")

    def __init__(self, source: Source, *, seconds: Callable[[], float]) -> None:
        self._source = source
        self._seconds = seconds
        self._keys: Keys = ()
        self._fresh = 0.0  # when they were read
        self._tried: float | None = None
        self._reading: SharedQuestions[KeySet, None] = SharedQuestions(1)

    async def keys(self, key_id: str) -> Keys:
        """All keys, read anew when `key_id` is not "" and none of them has it. Raises KeysUnknown."""
        unknown = not self._believed or (bool(key_id) and all(key.kid != key_id for key in self._keys))
        now = self._seconds()
        due = (unknown or now - self._fresh >= OLD) and (self._tried is None or now - self._tried >= SOON)
        if due or (unknown and self._reading.asking(self)):
            read = Deferred.fromCoroutine(self._reading.ask(self, self._refresh))
            if unknown:
                await read
        if not self._believed:
            raise KeysUnknown("the keys of the tokens' issuer are not known")
        return self._keys

    @property
    def _believed(self) -> bool:
        return bool(self._keys) and self._seconds() - self._fresh < STALE

    async def _refresh(self) -> None:
        self._tried = self._seconds()
        try:
            content = await self._source.read()
            if len(content) > MAX_OCTETS:
                raise ValueError(f"more than {MAX_OCTETS} octets")
            self._keys, self._fresh = read_key_set(content), self._seconds()
        except (OSError, FetchError, ValueError) as error:
            self.log.warn("auth.oauth.keys: {error}", error=error)
        except Exception:
            self.log.failure("auth.oauth.keys: cannot be read")
