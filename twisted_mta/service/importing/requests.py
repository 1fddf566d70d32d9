"""The server's side of `import_request`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from twisted_mta.service.importing import request as import_request
from twisted_mta.service.request_looks import RequestLooks
from twisted_mta.store.errors import StoreError
from twisted_mta.store.exchange.hierarchy_marks import put_marks
from twisted_mta.store.store import MessageStore


class ImportRequests(RequestLooks):
    """Looks for requests in `data`, the data directory."""

    def __init__(self, data: Path, store: MessageStore, *, reactor: Any) -> None:
        super().__init__(reactor=reactor)
        self._data = data
        self._store = store

    def requested(self) -> list[str]:
        return list(import_request.requested(self._data))

    async def do(self, account: str) -> None:
        try:
            marks = await self.in_thread(partial(import_request.read, self._data, account))
            mailboxes = await self._store.known_account(account)
            if mailboxes is not None:
                await mailboxes.visit(partial(put_marks, marks=marks))
        except StoreError as error:
            if self.stopped:
                return  # it is done at the next start
            self.log.error("{account}: not subscribed as imported: {why}", account=account, why=error.text)
        except Exception:
            self.log.failure("{account}: what an import asks for cannot be done", account=account)
        await self.in_thread(partial(import_request.done, self._data, account))
