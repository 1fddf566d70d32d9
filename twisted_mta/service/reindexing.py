"""`mta mailbox reindex` at work: in the server, which looks for requests (see `reindex_request`), or in the
command's own process when there is none.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.selectreactor import SelectReactor
from twisted.python.failure import Failure

from twisted_mta.protocol.imap4.bodystructure import render_structures
from twisted_mta.service import reindex_request
from twisted_mta.service.options.config import Config
from twisted_mta.service.request_looks import RequestLooks
from twisted_mta.store.errors import StoreError
from twisted_mta.store.indexer import Progress
from twisted_mta.store.store import MessageStore


async def reindex_account(store: MessageStore, name: str, progress: Progress) -> None:
    """Take over what other programs did to the account's mailboxes, and find out anew what is known of its
    mail. An account without mail is left as it is. Raises StoreError."""
    account = await store.known_account(name)
    if account is None:
        return
    for mailbox in await account.list_mailboxes():
        if mailbox.selectable:
            await account.status(mailbox.name)
    await store.reindex(name, progress)


class ReindexRequests(RequestLooks):
    """The server's side: looks for requests in `data`, the data directory, and does one after the other."""

    def __init__(self, data: Path, store: MessageStore, *, reactor: Any) -> None:
        super().__init__(reactor=reactor)
        self._data = data
        self._store = store

    def requested(self) -> list[str]:
        return reindex_request.requested(self._data)

    async def do(self, account: str) -> None:
        told: Deferred[None] = succeed(None)

        def progress(done: int, total: int) -> None:
            nonlocal told
            if told.called:
                told = self.in_thread(lambda: reindex_request.tell(self._data, account, done, total))

        failure = ""
        try:
            await reindex_account(self._store, account, progress)
        except StoreError as error:
            failure = error.text
        except Exception:
            self.log.failure("reindexing {account} failed", account=account)
            failure = "an unexpected error; the log has it"
        await told
        if not failure:
            await self.in_thread(reindex_request.Request(self._data, account).withdraw)
            self.log.info("{account} has been reindexed", account=account)
        elif not self.stopped:
            await self.in_thread(lambda: reindex_request.fail(self._data, account, failure))


# Without a server


def reindex_here(config: Config, account: str, progress: Progress) -> None:
    """Do it in this process. Raises StoreError; KeyboardInterrupt for Ctrl-C."""
    with_store(config, lambda store: reindex_account(store, account, progress))


def with_store(config: Config, do: Callable[[MessageStore], Coroutine[Any, Any, None]]) -> None:
    """Do something with the store while no server has it, in a reactor of its own. Raises what it raises;
    KeyboardInterrupt for Ctrl-C."""
    reactor = SelectReactor()
    store = MessageStore(
        Path(config.data_dir) / "mail",
        reactor=reactor,
        hostname=config.hostname,
        render=render_structures,
        indexing=False,
        keep_deleted=config.mailboxes.keep_deleted,
    )
    outcome: list[Failure | None] = []
    interrupted = False

    async def work() -> None:
        await store.start()
        await do(store)

    def finished(failure: Failure | None) -> None:
        outcome.append(failure)
        if not interrupted:
            reactor.stop()

    def interrupt(*_: object) -> None:
        nonlocal interrupted
        if not interrupted:
            interrupted = True
            reactor.callFromThread(reactor.stop)

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        reactor.callWhenRunning(lambda: Deferred.fromCoroutine(work()).addBoth(finished))
        reactor.addSystemEventTrigger("before", "shutdown", lambda: Deferred.fromCoroutine(store.stop()))
        reactor.run(installSignalHandlers=False)
    finally:
        signal.signal(signal.SIGINT, before)
    if interrupted:
        raise KeyboardInterrupt
    if outcome and outcome[0] is not None:
        outcome[0].raiseException()
