"""An SMTP session on a transport in memory, with a small town behind it: a directory, a queue that can fail.

Here live alice@a.test and bob@a.test, both with the password "secret", and the alias sales@a.test of alice.
"""

from __future__ import annotations

import ipaddress

from scram_accounts import ScramAccounts
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import ITLSTransport
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from zope.interface import implementer

from twisted_mta.interfaces import IDirectory, IDraft, IIntake, Resolution
from twisted_mta.journey.bus import Journey
from twisted_mta.message.address import Address
from twisted_mta.message.content import Content
from twisted_mta.message.status import MailError
from twisted_mta.protocol.smtp.extensions import SmtpLimits
from twisted_mta.transfer.mda.lmtp import Lmtp
from twisted_mta.transfer.msa.submission import Submission, SubmissionPolicy
from twisted_mta.transfer.mta.reception import Reception, ReceptionPolicy
from twisted_mta.transfer.policy import TransferPolicy
from twisted_mta.transfer.screening.screening import UNSCREENED
from twisted_mta.wire.listener import Listener
from twisted_mta.wire.proxied import ProxyAware

NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 +0000
ALIASES = {"sales@a.test": "alice@a.test"}
ACCOUNTS = {"alice@a.test", "bob@a.test"}


@implementer(IDirectory)
class Directory(ScramAccounts):
    """`gate`, when it is set, holds every lookup back until it fires."""

    def __init__(self):
        self.gate = None
        self.lookups = []

    def is_local(self, domain):
        return domain == "a.test"

    async def resolve(self, address):
        self.lookups.append(str(address))
        await self._wait()
        local = address.local.lower().partition("+")[0]
        key = f"{local}@{address.domain}"
        key = ALIASES.get(key, key)
        if local == "postmaster":
            key = "alice@a.test"
        return Resolution(account=key) if key in ACCOUNTS else None

    async def authenticate(self, login, password, peer="", service=""):
        await self._wait()
        return self.account(login) if password == "secret" else None

    def account(self, login):
        login = login if "@" in login else f"{login}@a.test"
        return login if login in ACCOUNTS else None

    async def owns(self, account, address):
        found = await self.resolve(address)
        return found is not None and found.account == account

    async def _wait(self):
        if self.gate is not None:
            await self.gate


@implementer(IDraft)
class Draft:
    def __init__(self, intake, queue_id):
        self.intake = intake
        self.queue_id = queue_id
        self.size = 0
        self.body = b""
        self.open = True

    async def write(self, data):
        assert self.open
        if self.intake.write_error:
            raise self.intake.write_error
        if self.intake.gate is not None:
            await self.intake.gate
            if not self.open:  # aborted meanwhile
                raise MailError(451, "4.3.0", "aborted")
        self.body += data
        self.size += len(data)
        self.intake.writes.append(len(data))

    async def content(self):
        return Content(b"", self.body)

    async def commit(self, envelope, head=b""):
        assert self.open
        if self.intake.commit_gate is not None:
            await self.intake.commit_gate
        self.open = False
        if self.intake.commit_error:
            raise self.intake.commit_error
        self.intake.stored.append((envelope, head, self.body))

    def abort(self):
        self.open = False


@implementer(IIntake)
class Intake:
    """Keeps what was committed as (envelope, head, body). Tests set errors to be raised, and gates that hold
    writing or committing back until they fire."""

    def __init__(self):
        self.stored = []
        self.drafts = []
        self.writes = []
        self.write_error = self.commit_error = self.gate = self.commit_gate = None

    def draft(self, queue_id=""):
        draft = Draft(self, f"Q{len(self.drafts) + 1}")
        self.drafts.append(draft)
        return draft


class Handle:
    """The TLS connection as far as Received needs it."""

    def get_protocol_version_name(self):
        return "TLSv1.3"

    def get_cipher_name(self):
        return "TLS_AES_256_GCM_SHA384"


@implementer(ITLSTransport)
class Transport(StringTransport):
    """Keeps what arrives while it is paused, as a socket does."""

    TLS = False

    def setTcpNoDelay(self, enabled):
        pass

    def __init__(self, host):
        super().__init__(peerAddress=IPv4Address("TCP", host, 40000))
        self.held = b""
        self.connected = True

    def startTLS(self, context):
        assert self.producerState == "producing"
        self.TLS = True

    def getHandle(self):
        return Handle()

    def abortConnection(self):
        super().abortConnection()
        self.connected = False


class Town:
    """One session. `send` gives the client's octets and returns what the server said."""

    def __init__(
        self,
        role="reception",
        *,
        tls=False,
        secure=False,
        cleartext=False,
        host="192.0.2.1",
        networks=(),
        limits=SmtpLimits(),
        screening=UNSCREENED,
        judge=None,
        relaying=None,
        proxied=False,
        recoding=None,
        **policy,
    ):
        self.clock = Clock()
        self.clock.advance(NOW)
        self.directory, self.intake, self.told = Directory(), Intake(), []
        self.full = set()  # accounts
        journey = Journey()
        journey.add_reader(self.told.append)
        common = {"hostname": "mx.a.test", "postmaster_domain": "a.test", "limits": limits, **policy}
        if role == "reception":
            kind = Reception
            allow = tuple(ipaddress.ip_network(network) for network in networks)
            chosen = ReceptionPolicy(allow_networks=allow, **common)
        elif role == "lmtp":
            kind, chosen = Lmtp, TransferPolicy(**common)
        else:
            kind = Submission
            chosen = SubmissionPolicy(allow_cleartext=cleartext, **common)

        def make():
            return kind(
                directory=self.directory,
                intake=self.intake,
                journey=journey,
                reactor=self.clock,
                policy=chosen,
                is_full=self.is_full,
                screening=screening,
                recoding=recoding,
                **({"judge": judge(self.clock)} if judge else {}),
                **({"relaying": relaying} if relaying else {}),
            )

        self.listener = Listener(
            make, reactor=self.clock, tls_context=object() if tls or secure else None, implicit_tls=secure
        )
        self.transport = Transport(host)
        door = self.listener
        if proxied:
            network = ipaddress.ip_network(f"{host}/24", strict=False)
            door = ProxyAware(self.listener, networks=(network,), reactor=self.clock)
        self.transport.protocol = door.buildProtocol(self.transport.getPeer())
        self.transport.protocol.makeConnection(self.transport)

    @property
    def session(self):
        """The one that has the connection now."""
        return self.transport.protocol

    async def is_full(self, account, octets=0):
        return account in self.full

    def said(self):
        output = self.transport.value()
        self.transport.clear()
        return output

    def send(self, data):
        transport = self.transport
        transport.held += data
        while transport.held and transport.producerState == "producing" and not transport.disconnecting:
            data, transport.held = transport.held, b""
            self.session.dataReceived(data)
        return self.said()

    def drip(self, data):
        return b"".join(self.send(data[i : i + 1]) for i in range(len(data)))

    def say(self, *lines):
        """Send these lines; the last lines of the replies to them, decoded."""
        output = self.send(b"".join(line.encode("latin-1") + b"\r\n" for line in lines))
        return [line for line in output.decode("ascii").split("\r\n")[:-1] if line[3:4] == " "]

    def hang_up(self):
        from twisted.internet.error import ConnectionDone
        from twisted.python.failure import Failure

        self.session.connectionLost(Failure(ConnectionDone()))

    @property
    def closed(self):
        return self.transport.disconnecting or not self.transport.connected

    @property
    def secure(self):
        return self.session.secure

    @property
    def stages(self):
        return [event.stage for event in self.told]


def full_disk():
    return MailError(452, "4.3.1", "Insufficient system storage")


def address(text):
    return Address.parse(text)
