"""A ManageSieve session: the engine's questions answered from the account's scripts (RFC 5804)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from typing import Any, TypeVar

from twisted.internet.threads import deferToThreadPool

from twisted_mta.access.managesieve.counted import CountedManageSieveServer
from twisted_mta.interfaces import IDirectory
from twisted_mta.journey.bus import Journey
from twisted_mta.message.status import MailError
from twisted_mta.protocol.managesieve.events import (
    CheckScript,
    DeleteScript,
    Event,
    GetScript,
    HaveSpace,
    ListScripts,
    Login,
    PutScript,
    RenameScript,
    SetActive,
    StartTls,
    Unauthenticate,
)
from twisted_mta.protocol.managesieve.server import ManageSieveLimits, ManageSieveServer
from twisted_mta.protocol.sasl.credentials import KeysWanted
from twisted_mta.sieve.dialect import DIALECT
from twisted_mta.sieve.errors import SieveError
from twisted_mta.sieve.run import Limits
from twisted_mta.sieve.script import Script
from twisted_mta.store.scripts import BadScriptName, NoSuchScript, ScriptExists, ScriptIsActive, Scripts
from twisted_mta.store.store import MessageStore
from twisted_mta.wire.connection import STRANGERS_PATIENCE, Connection
from twisted_mta.wire.login import LoginAttempts, LoginLimits, LoginMeans

T = TypeVar("T")
OVERLOAD = b'BYE (TRYLATER) "Too many connections, try again later"\r\n'  # for Listener
MAX_SCRIPTS = 100  # of an account

# The codes of RFC 5804 §1.3 and §4.
_REFUSALS: dict[type[Exception], tuple[str, str]] = {
    NoSuchScript: ("NONEXISTENT", "There is no script of that name"),
    ScriptExists: ("ALREADYEXISTS", "There is a script of that name already"),
    ScriptIsActive: ("ACTIVE", "The script is in use"),
    BadScriptName: ("", "No script can have that name"),
}


@dataclass(frozen=True, slots=True)
class ManageSieveSettings:
    """`idle_limit` is in seconds; RFC 5804 §1.4 asks for thirty minutes, once a client is logged in.
    `login_limit`: so long it may take until then, or until it tries to."""

    hostname: str
    allow_cleartext: bool = False
    idle_limit: float = 1800.0
    login_limit: float = 60.0
    limits: ManageSieveLimits = field(default_factory=ManageSieveLimits)
    login: LoginLimits = field(default_factory=LoginLimits)
    means: LoginMeans = field(default_factory=LoginMeans)


class ManageSieveSession(Connection[Event]):
    """One client. reactor: provides the thread pool and the wall clock."""

    engine: ManageSieveServer

    def __init__(
        self,
        settings: ManageSieveSettings,
        *,
        directory: IDirectory,
        store: MessageStore,
        journey: Journey,
        reactor: Any,
    ) -> None:
        self._settings = settings
        self._directory = directory
        self._store = store
        self._journey = journey
        self._reactor = reactor
        self.idle_limit = settings.login_limit
        self.patience = STRANGERS_PATIENCE
        self._account = ""
        self._commands = 0  # that had come when the idle clock was set

    def opened(self) -> None:
        self._attempts = LoginAttempts(
            self,
            self._directory,
            reactor=self._reactor,
            journey=self._journey,
            service="sieve",
            allow_cleartext=self._settings.allow_cleartext,
            limits=self._settings.login,
            means=self._settings.means,
        )
        self.engine = CountedManageSieveServer(
            self.listener.tally,
            hostname=self._settings.hostname,
            secure=self.secure,
            tls_available=self.listener.tls_context is not None,
            offer=self._attempts.offer,
            extensions=DIALECT.capabilities,
            redirects=Limits().redirects,
            limits=self._settings.limits,
        )
        self.after_handshake(self.engine.greet)

    def pump(self) -> None:
        """Whoever is logged in stays so with any command (RFC 5804 §1.4)."""
        super().pump()
        if self._account and self.engine.commands != self._commands:
            self._commands = self.engine.commands
            self.touch()

    async def handle(self, event: Event) -> None:
        match event:
            case Login():
                await self._log_in(event)
            case StartTls():
                self._nobody()
                self.start_tls()
                self.after_handshake(self.engine.secured)
            case KeysWanted():
                self.engine.provide(await self._attempts.keys(event))
            case Unauthenticate():
                self._nobody()
                self.engine.logged_out()
            case CheckScript(text):
                if await self._is_valid(text):
                    self.engine.accept("")
            case PutScript(name, text):
                if await self._is_valid(text) and await self._has_space(name, len(text)):
                    await self._do(lambda scripts: scripts.write(name, text))
            case HaveSpace(name, size):
                if await self._has_space(name, size):
                    self.engine.accept("")
            case _:
                await self._look_after(event)

    async def _look_after(self, event: Event) -> None:
        match event:
            case ListScripts():
                names, active = await self._ask(lambda scripts: (scripts.names(), scripts.active()))
                self.engine.scripts(names, active)
            case GetScript(name):
                await self._get(name)
            case SetActive(name):
                await self._do(lambda scripts: scripts.activate(name))
            case DeleteScript(name):
                await self._do(lambda scripts: scripts.delete(name))
            case RenameScript(old, new):
                await self._do(lambda scripts: scripts.rename(old, new))

    async def _log_in(self, event: Login) -> None:
        self.flush()  # what came before need not wait for this
        account = await self._attempts.check(event.credentials)
        if account is None:
            self.engine.login_failed(last=self._attempts.exhausted)
            return
        await self._store.account(account)  # its home is there now
        self._account = account
        self.idle_limit = self._settings.idle_limit
        self.patience = inf
        self.engine.logged_in(account)

    def _nobody(self) -> None:
        """Nobody is logged in any more: the client has as long as one that has just come."""
        self._account = ""
        self.idle_limit = self._settings.login_limit
        self.patience = STRANGERS_PATIENCE

    async def _get(self, name: str) -> None:
        try:
            self.engine.script(await self._ask(lambda scripts: scripts.read(name)))
        except tuple(_REFUSALS) as error:
            self._refuse(error)

    async def _do(self, change: Callable[[Scripts], None]) -> None:
        try:
            await self._ask(change)
        except tuple(_REFUSALS) as error:
            self._refuse(error)
        else:
            self.engine.accept("")

    def _refuse(self, error: Exception) -> None:
        code, text = _REFUSALS[type(error)]
        self.engine.refuse(text, code)

    async def _is_valid(self, text: bytes) -> bool:
        """Compiled in a thread; what is wrong has been said when it is not."""
        try:
            await self._in_thread(Script, text)
        except SieveError as error:
            self.engine.refuse(str(error))
            return False
        return True

    async def _has_space(self, name: str, size: int) -> bool:
        if size > self._settings.limits.script:
            self.engine.refuse("The script is too large", "QUOTA/MAXSIZE")
            return False
        names = await self._ask(Scripts.names)
        if name not in names and len(names) >= MAX_SCRIPTS:
            self.engine.refuse(f"{MAX_SCRIPTS} scripts are enough", "QUOTA/MAXSCRIPTS")
            return False
        return True

    async def _ask(self, question: Callable[[Scripts], T]) -> T:
        """Raises MailError when the disk does not let us."""
        try:
            return await self._in_thread(question, Scripts(self._store.home(self._account)))
        except OSError as error:
            self.log.error("{account}: scripts: {error}", account=self._account, error=str(error))
            raise MailError(451, "4.3.0", "The scripts cannot be used now, try again later") from error

    async def _in_thread(self, function: Callable[..., T], *arguments: object) -> T:
        return await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), function, *arguments)

    def refuse(self, event: Event, error: MailError) -> None:
        self.engine.refuse(error.text, "TRYLATER" if not error.permanent else "")

    def timed_out(self) -> None:
        self.engine.shut("Idle for too long")

    def shutting_down(self) -> None:
        self.engine.shut("Server is stopping", "TRYLATER")

    def closed(self) -> None:
        """Nothing is held."""
