"""Asks an account's script what is to become of a message.

A script is compiled when it is first needed, and again when it has changed. It runs in a thread: an owner's
script may be slow, and nobody else waits for it. Whatever goes wrong with it, the message is kept in the
INBOX. Only where the process is in trouble for the moment, so that nobody knows what the script says, the
delivery waits.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from twisted_mta.journey.bus import Journey
from twisted_mta.message.content import Content
from twisted_mta.message.outcome import QueuedMessage
from twisted_mta.message.status import MailError
from twisted_mta.sieve.actions import FileCopy, Notify
from twisted_mta.sieve.errors import SieveError
from twisted_mta.sieve.mail import Mail, SieveEnvelope
from twisted_mta.sieve.ready import Ready
from twisted_mta.sieve.script import Result, Script
from twisted_mta.store.script_memory import ScriptMemory
from twisted_mta.store.scripts import ScriptError, Scripts, Stamp
from twisted_mta.store.store import MessageStore
from twisted_mta.transfer.mda.glances import Glances
from twisted_mta.transfer.mda.sieve.annotated import CAPABILITIES, Lookup, nothing, read_annotations
from twisted_mta.transfer.mda.sieve.answers import Answers
from twisted_mta.transfer.mda.sieve.decision import JUNK, KEEP, Decision, decision
from twisted_mta.transfer.mda.sieve.filing import Sent, file_copy
from twisted_mta.transfer.mda.sieve.house import Acquaintance, House
from twisted_mta.transfer.mda.sieve.notifying import Notifying
from twisted_mta.transfer.mda.sieve.onward import Onward
from twisted_mta.transfer.mda.sieve.troubles import Troubles
from twisted_mta.transfer.mda.sieve.verdicts import Verdicts

_COMPILED = 64 << 20  # octets of scripts that are kept ready
_REMEMBERED = 30 * 86400.0  # seconds, longer than a message is in the queue
# Trouble of the process, and not of the script: it may be readable a little later. A bad disk stays bad.
_OF_THE_MOMENT = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN})
# Capabilities that ask for the list; what an included script asks for is not known beforehand.
_MAILBOXES = frozenset(("mailbox", "special-use", "include"))


class Filters:
    """notifying: None sends no notifications. common: the scripts that every account may include.
    verdicts: where to read what was found out about spam and viruses. separators: begin the detail of an
    address. onward: None redirects messages as they came. troubles: None tells no owner of them. reactor:
    provides the thread pool and the wall clock. acquaintance: see House."""

    log = Logger(namespace="twisted_mta.sieve")

    def __init__(
        self,
        store: MessageStore,
        *,
        answers: Answers,
        hostname: str,
        journey: Journey,
        reactor: Any,
        notifying: Notifying | None = None,
        common: Scripts | None = None,
        verdicts: Verdicts = Verdicts(),
        separators: str = "+",
        onward: Onward | None = None,
        troubles: Troubles | None = None,
        acquaintance: Acquaintance | None = None,
    ) -> None:
        self._store = store
        self._answers = answers
        self._hostname = hostname
        self._journey = journey
        self._reactor = reactor
        self._notifying = notifying
        self._common = common
        self._verdicts = verdicts
        self._separators = separators
        self._onward = onward
        self._troubles = troubles
        self._acquaintance = acquaintance
        self._compiled: Ready[str, tuple[Stamp, Script | None]] = Ready(_COMPILED)  # by account
        self._stamps = Glances(lambda account: Scripts(store.home(account)).stamp())

    def has_script(self, account: str) -> bool:
        """Whether the account has one in use."""
        return self._stamps.at(account) is not None

    async def decide(
        self,
        account: str,
        content: Content,
        envelope: SieveEnvelope,
        queue_id: str,
        *,
        default: Decision = KEEP,
    ) -> Decision:
        """For one copy of a message; never raises for what a script does. default: KEEP or JUNK, for what its
        owner does not decide. Raises MailError when the script cannot be read at the moment."""
        home = self._store.home(account)
        stamp = self._stamps.at(account)
        if stamp is None:
            return default
        script = await self._script(account, home, stamp, queue_id)
        if script is None:
            return default
        house = partial(await self.house_for(account, script), junk=default is JUNK)
        try:
            decided: Decision = await self._in_thread(_run, script, content, envelope, house, default)
        except Exception as error:  # a fault of ours, or of what the script remembers: no reason to wait
            self._wait_out(account, error)
            self.log.failure("{queue_id}: a script could not be run", queue_id=queue_id)
            decided = replace(default, error=f"it could not be run: {type(error).__name__}")
        if decided.error:
            await self.failed(account, queue_id, decided.error)
        return decided

    def _wait_out(self, account: str, error: Exception) -> None:
        """Raises MailError for trouble of the moment."""
        if isinstance(error, OSError) and error.errno in _OF_THE_MOMENT:
            self.log.error("a script of {account} cannot be read: {error}", account=account, error=error)
            raise MailError(451, "4.3.0", "The recipient's rules cannot be read at the moment") from error

    async def failed(self, account: str, queue_id: str, reason: str) -> None:
        """The account's script could not be followed to the end. Never raises."""
        self._journey.tell("sieve-failed", queue_id, account=account, reason=reason)
        if self._troubles is not None:
            await self._troubles.tell(account, reason, queue_id)

    async def house_for(self, account: str, script: Script) -> Callable[..., House]:
        """Makes the house for runs of the script; what is lacking is the header of the message, and may be
        the items of the environment. Raises StoreError."""
        home = self._store.home(account)
        mailboxes: dict[str, frozenset[str]] = {}
        lookup: Lookup = nothing
        if script.capabilities & (_MAILBOXES | CAPABILITIES):
            owner = await self._store.account(account)
            mailboxes = {
                info.name: info.special_uses for info in await owner.list_mailboxes() if info.selectable
            }
        if script.capabilities & CAPABILITIES:
            lookup = await read_annotations(self._store, account, mailboxes)
        return partial(
            House,
            mailboxes=mailboxes,
            memory=ScriptMemory(home),
            own=Scripts(home),
            common=self._common,
            verdicts=self._verdicts,
            hostname=self._hostname,
            now=self._reactor.seconds(),
            account=account,
            separators=self._separators,
            annotations=lookup,
            acquaintance=self._acquaintance,
        )

    async def _script(self, account: str, home: Path, stamp: Stamp, queue_id: str) -> Script | None:
        """The compiled script; None when it is none, which its owner was told when it was put there."""
        known = self._compiled.get(account)
        if known is not None and known[0] == stamp:
            return known[1]
        try:
            script: Script | None = await self._in_thread(_compile, home)
        except SieveError as error:
            await self.failed(account, queue_id, str(error))
            script = None
        except (ScriptError, OSError) as error:  # what is not there, or cannot be read, may be next time
            self._wait_out(account, error)
            await self.failed(account, queue_id, f"the script cannot be read: {error}")
            return None
        self._compiled.put(account, (stamp, script), script.weight if script is not None else 0)
        return script

    async def send_on(
        self, account: str, delivered_to: str, message: QueuedMessage, number: int, decided: Decision
    ) -> bool:
        """Send what the script has changed to those whom it redirects the message to; False when it has
        changed nothing. number: of the recipient. A crash may repeat it, never drop it. Raises MailError,
        OSError, sqlite3.Error."""
        if decided.content is None or self._onward is None:
            return False
        memory = ScriptMemory(self._store.home(account))
        key, now = f"redirect\0{message.queue_id}\0{number}", self._reactor.seconds()
        if not await self._in_thread(memory.knows, key, now):
            await self._onward.send(
                decided.content,
                reverse_path=message.reverse_path,
                to=decided.redirects,
                delivered_to=delivered_to,
                about=message.queue_id,
                parameters=message.parameters,
            )
            await self._in_thread(memory.remember, {key: now + _REMEMBERED}, now)
        return True

    async def follow_up(
        self, account: str, delivered_to: str, message: QueuedMessage, decided: Decision
    ) -> None:
        """The delivery is done: remember what its script asked to be remembered, and answer. Trouble with
        that is told, and changes nothing about the delivery."""
        if not (decided.seen or decided.answers or decided.notifications):
            return
        home = self._store.home(account)
        try:
            if decided.seen:
                memory = ScriptMemory(home)
                await self._in_thread(memory.remember, dict(decided.seen), self._reactor.seconds())
            header = await self._in_thread(message.content.header)
            for answer in decided.answers:
                if await self._in_thread(
                    self._answers.due, home, account, delivered_to, answer, header, message
                ):
                    sent = await self._answers.send(account, delivered_to, answer, header, message)
                    if sent is not None:
                        await self._file_copy(account, answer.copy, sent)
            for notify in decided.notifications:
                await self.notify(account, delivered_to, notify, header, message)
        except Exception as error:
            self.log.error("{queue_id}: {error!r} behind a delivery", queue_id=message.queue_id, error=error)

    async def notify(
        self, account: str, delivered_to: str, notify: Notify, header: bytes, message: QueuedMessage
    ) -> None:
        """Tell somebody of a message with that header, unless that was done. Raises MailError, OSError,
        sqlite3.Error."""
        home, notifying = self._store.home(account), self._notifying
        if notifying is None:
            return
        if not await self._in_thread(notifying.due, home, delivered_to, notify, header, message):
            return
        sent = await notifying.send(account, delivered_to, notify, header, message)
        if sent is not None:
            await self._file_copy(account, notify.copy, sent)

    async def _file_copy(self, account: str, copy: FileCopy | None, sent: Sent) -> None:
        if copy is not None:
            await file_copy(self._store, self._journey, account, copy, sent, self._reactor.seconds())

    async def _in_thread(self, function: Callable[..., Any], *arguments: object) -> Any:
        return await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), function, *arguments)


def _compile(home: Path) -> Script:
    scripts = Scripts(home)
    name = scripts.active()
    return Script(scripts.read(name), name)


def run(
    script: Script,
    content: Content,
    envelope: SieveEnvelope,
    house_for: Callable[..., House],
    flags: tuple[str, ...] = (),
) -> tuple[Result, Content | None, House]:
    """In a thread: what came of it, and the message as the script has changed it, None when it has not.
    Raises OSError."""
    header, size = content.header(), len(content)
    house = house_for(header=header)
    mail = Mail(header, size, lambda: _body(content, len(header)))
    result = script.run(mail, envelope, house, flags=flags)
    edited = None
    if mail.edited and result.error is None:
        block = b"".join(b"%b:%b\r\n" % field for field in mail.fields) + b"\r\n"
        edited = Content(block, mail.body)
    return result, edited, house


def _run(
    script: Script,
    content: Content,
    envelope: SieveEnvelope,
    house_for: Callable[..., House],
    default: Decision,
) -> Decision:
    """In a thread. Raises OSError."""
    result, edited, house = run(script, content, envelope, house_for)
    return decision(
        result.actions,
        default=default,
        content=edited,
        seen=() if result.error else tuple(house.seen.items()),
        error=str(result.error or ""),
    )


def _body(content: Content, start: int) -> bytes:
    pieces = []
    for chunk in content.chunks():
        pieces.append(chunk[start:] if start else chunk)
        start = max(start - len(chunk), 0)
    return b"".join(pieces)
