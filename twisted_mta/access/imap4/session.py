"""One IMAP session: it drives the engine, holds who is logged in and what is selected, and answers.

What each command does stands in the modules of its group; table.py names them all. Faults of the
client are `BAD`, refusals of the store `NO` with a response code (RFC 5530), accidents of ours
`NO [SERVERBUG]`. Everything the session has open is let go of when the connection ends and no command
is under way any more.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from twisted_mta.access.imap4 import append, authentication, idle, metadata_changes, notify
from twisted_mta.access.imap4.capabilities import capabilities
from twisted_mta.access.imap4.counted import VERBS, CountedImapServer
from twisted_mta.access.imap4.response_codes import code_of
from twisted_mta.access.imap4.searching import context
from twisted_mta.access.imap4.table import COMMANDS
from twisted_mta.access.imap4.view import UNREADABLE, View
from twisted_mta.message.status import MailError
from twisted_mta.protocol.imap4 import responses
from twisted_mta.protocol.imap4.commands.appending import Replace, TextPart, UrlPart
from twisted_mta.protocol.imap4.commands.command import Command, OnMessages
from twisted_mta.protocol.imap4.commands.copying import Move
from twisted_mta.protocol.imap4.commands.storing import Expunge
from twisted_mta.protocol.imap4.grammar import CommandError
from twisted_mta.protocol.imap4.server import (
    AppendEnd,
    ContinuationLine,
    Event,
    Fault,
    ImapServer,
    LiteralChunk,
)
from twisted_mta.store.account import Account
from twisted_mta.store.viewpoint import Viewpoint
from twisted_mta.wire.connection import STRANGERS_PATIENCE, Connection

if TYPE_CHECKING:
    from twisted_mta.access.imap4.access import ImapAccess

_PIECE = 16 * 1024  # octets of answers from which on they are sent before the command is over


class ImapSession(Connection[Event]):
    """Made by `ImapAccess.session`."""

    engine: ImapServer
    account: Account | None = None
    viewpoint: Viewpoint  # from login on: the mailboxes, as this user sees them
    view: View | None = None
    login: authentication.Login | None = None  # until somebody is logged in
    appending: append.Incoming | None = None
    idling: idle.Idling | None = None
    notifications: notify.Notifications | None = None  # from the first NOTIFY on
    metadata_changes: metadata_changes.MetadataChanges | None = None  # after ENABLE METADATA
    _began = False
    _faults = 0
    _handling = False
    _tag = "*"  # of the command that is being answered

    def __init__(self, access: ImapAccess) -> None:
        self.access = access
        self.enabled: set[str] = set()  # what the client has switched on (RFC 5161), in upper case
        self.idle_limit = access.limits.login_time
        self.patience = STRANGERS_PATIENCE

    # The connection's hooks

    def opened(self) -> None:
        self.engine = CountedImapServer(self.listener.tally.replies)
        self._commands = self.listener.tally.commands
        self.login = authentication.Login(self)
        self.after_handshake(self._greet)

    def _greet(self) -> None:
        self.engine.respond("*", "OK", "IMAP4rev1 server ready", f"CAPABILITY {capabilities(self)}")

    def unasked(self) -> Event | None:
        """What the client says goes before what it is to be told of its own accord."""
        if self.notifications is not None and self.notifications.due:
            return notify.Due("*")
        if self.metadata_changes is not None and self.metadata_changes.due:
            return metadata_changes.Due("*")
        if self.view is not None and self.view.contexts is not None:
            return context.Due("*") if self.view.contexts.due else None
        return None

    async def handle(self, event: Event) -> None:
        self._handling = True
        self._tag = self._tag_for(event)
        try:
            await self._decide(event)
        except CommandError as error:
            self.fault(Fault(self._tag, error.condition, error.text, error.code))
        finally:
            self._handling = False
            if self.gone:
                await self._release()

    async def _decide(self, event: Event) -> None:
        if isinstance(event, Command):
            self._faults = 0
            self._commands[VERBS[type(event)]] += 1
            if isinstance(event, OnMessages | Expunge | Replace) and not self.require_view().readable:
                self.refuse_command(event, UNREADABLE, "NOPERM")
                return
            await COMMANDS[type(event)](self, event)
        elif isinstance(event, LiteralChunk):
            await append.take(self, event)
        elif isinstance(event, TextPart | UrlPart):
            await append.take_part(self, event)
        elif isinstance(event, AppendEnd):
            await append.end(self, event)
        elif isinstance(event, ContinuationLine):
            if self.idling is not None:
                await idle.end(self, event.line)
            else:
                await authentication.respond(self, event.line)
        else:
            self.fault(event)

    def refuse(self, event: Event, error: MailError) -> None:
        if isinstance(event, LiteralChunk):
            append.fail(self, error)
            return
        self.engine.respond(self._tag, "NO", error.text, code_of(error))
        if self._tag != "*":  # else it was nobody's command
            self._abandon()
        if self.view is not None and self.view.deleted:
            self.tell_updates(expunges=False)

    def timed_out(self) -> None:
        self.bye("Autologout; idle for too long" if self.account else "Login took too long")

    def shutting_down(self) -> None:
        self.bye("Server is shutting down")

    def closed(self) -> None:
        if not self._handling:
            done = Deferred.fromCoroutine(self._release())
            done.addErrback(lambda failure: self.log.failure("closing a session failed", failure=failure))

    def touch(self) -> None:
        """Before login the clock runs on, so that nobody keeps a connection without a password."""
        if self.account is not None or not self._began:
            self._began = True
            super().touch()

    # Services to the commands

    def complete(self, command: Command, text: str, code: str = "", *, expunges: bool = True) -> None:
        """Tell what has changed meanwhile, then that the command has been carried out."""
        self.tell_updates(
            expunges=expunges,
            with_uid=isinstance(command, OnMessages) and command.by_uid,
            result=isinstance(command, Expunge | Move),
        )
        if not self.engine.finished:
            self.engine.respond(command.tag, "OK", text, code)

    def refuse_command(self, command: Command, text: str, code: str = "", *, expunges: bool = True) -> None:
        """Tell what has changed meanwhile, then that the command cannot be carried out."""
        self.tell_updates(expunges=expunges)
        if not self.engine.finished:
            self.engine.respond(command.tag, "NO", text, code)

    def tell_updates(
        self, *, expunges: bool, with_uid: bool = False, result: bool = False, exists_first: bool = False
    ) -> None:
        """Untagged responses for what has changed in the selected mailbox, as a `result` of what the client
        has asked for or otherwise; see `View.updates`. A mailbox that is gone ends the session: there is no
        other way to tell (RFC 2180 §3)."""
        view = self.view
        if view is None:
            return
        if view.deleted:
            self.bye("The selected mailbox has been deleted")
            return
        if self.notifications is not None:
            self.notifications.tell_selected(
                view, expunges=expunges, result=result, exists_first=exists_first
            )
            return
        for line in view.updates(expunges=expunges, with_uid=with_uid, exists_first=exists_first):
            self.engine.write(line)

    def bye(self, text: str) -> None:
        """End the session of our own accord."""
        self.engine.respond("*", "BYE", text)
        self.engine.finish()

    def logged_in(self, account: Account) -> None:
        """The client has proved who it is."""
        self.account = account
        self.viewpoint = Viewpoint(self.access.store, account)
        self.login = None
        self.idle_limit = self.access.limits.idle_time
        self.patience = inf
        self.engine.log_in()
        account.prepare()

    def mailbox_name(self, name: str) -> bytes:
        """A mailbox name as this client reads it, quoted where it must be."""
        return responses.mailbox(name, utf8=self.engine.utf8)

    def require_account(self) -> Account:
        """Whose mail this is. The engine lets no command through that has no place before login."""
        assert self.account is not None
        return self.account

    def require_view(self) -> View:
        """What is selected. The engine lets no command through that has no place without it."""
        assert self.view is not None
        return self.view

    async def logged_out(self) -> None:
        """Whoever was logged in is so no more; all that was switched on is off (RFC 8437 §4.1)."""
        await self._release()
        self.enabled.clear()
        self.engine.log_out()
        self.login = authentication.Login(self)
        self.idle_limit = self.access.limits.login_time
        self.patience = STRANGERS_PATIENCE
        self._began = False

    async def drain(self) -> None:
        """Little is not worth a write of its own: it leaves with what follows."""
        if self.clogged or self.engine.ready > _PIECE:
            await super().drain()

    async def leave_mailbox(self) -> None:
        """Nothing is selected any more."""
        view, self.view = self.view, None
        if view is not None:
            self.engine.deselect()
            view.close()
            await view.mailbox.close()

    # Trouble and the end

    def _tag_for(self, event: Event) -> str:
        """The tag of the command that an event belongs to, "*" when there is none."""
        if isinstance(event, Command) or (isinstance(event, Fault) and event.tag != "*"):
            return event.tag
        for pending in (self.appending, self.idling, self.login):
            if pending is not None and pending.tag:
                return pending.tag
        return "*"

    def fault(self, fault: Fault) -> None:
        """Answer what is no command, or none that can be carried out."""
        self.engine.respond(self._tag, fault.condition, fault.text, fault.code)
        self._abandon()
        self._faults += fault.condition == "BAD"
        if fault.fatal:
            self.bye("Cannot go on")
        elif self._faults >= self.access.limits.faults:
            self.bye("Too many bad commands")

    def _abandon(self) -> None:
        """Whatever took more than one line is over."""
        self.idling = None
        if self.login is not None:
            self.login.abandon()
        self.engine.end_continuation()

    async def _release(self) -> None:
        self.idling = None
        if self.notifications is not None:
            self.notifications.close()
            self.notifications = None
        if self.metadata_changes is not None:
            self.metadata_changes.close()
            self.metadata_changes = None
        append.abandon(self)
        await self.leave_mailbox()
        account, self.account = self.account, None
        if account is not None:
            self.access.journey.tell("logout", service="imap", peer=self.peer_host, account=account.name)
