"""The server engine of SMTP: octets in, events out, replies ready to send.

Implements RFC 5321 §3 and §4 as a server, with PIPELINING (RFC 2920), SIZE (RFC 1870), 8BITMIME (RFC 6152),
ENHANCEDSTATUSCODES (RFC 2034), STARTTLS (RFC 3207), AUTH (RFC 4954) with the mechanisms of `protocol/sasl`,
and those of `extensions.py` that the service offers; XCLIENT for trusted proxies; or LMTP (RFC 2033), which
differs in its greeting, LHLO, and a reply for each recipient at the end of content. The engine knows the
order of commands and the envelope so far, and answers alone what needs nobody's decision; an event is what
the session must decide. After an event that waits for a verdict nothing is read on until `accept` or `refuse`
has been called: a pipelined command never overtakes another.

Lines, faults and the session itself are `server_dialog.py`, which this goes on from.

Left out on purpose: ETRN (RFC 1985) and what RFC 5321 deprecates.
"""

from __future__ import annotations

from twisted_mta.message.address import Address
from twisted_mta.message.envelope import NO_PARAMETERS, EnvelopeRecipient, MailParameters
from twisted_mta.message.status import MailError
from twisted_mta.protocol.smtp import commands
from twisted_mta.protocol.smtp.chunks import ChunkEnd
from twisted_mta.protocol.smtp.events import (
    Answered,
    Burl,
    DataChunk,
    DataEnd,
    DataSpoiled,
    DataStart,
    Event,
    Mail,
    Recipient,
)
from twisted_mta.protocol.smtp.extensions import Extension
from twisted_mta.protocol.smtp.replies import OK, refusal, reply
from twisted_mta.protocol.smtp.server_dialog import Command, ServerDialog
from twisted_mta.protocol.smtp.states import AFTER, OUT_OF_ORDER, State

_SENDER_OK = reply(250, "2.1.0", "Sender ok")
_RECIPIENT_OK = reply(250, "2.1.5", "Recipient ok")
_GO_AHEAD = reply(354, "", "Send the message, end with a dot on a line by itself")
_MORE = reply(250, "2.5.0", "Waiting for more BURL or BDAT")
_TOO_MANY_RECIPIENTS = reply(452, "4.5.3", "Too many recipients, send the others in another transaction")


class SmtpServer(ServerDialog):
    """One session. `<postmaster>` alone is the postmaster of `postmaster_domain`, by default the host's.
    `secure`: the connection is inside TLS; `tls_available`: STARTTLS may be offered;
    `offer`: what a client may log in with now, None for a server without AUTH.
    `lmtp`: speaks LMTP. `seconds`: the wall clock, from which a sender's wishes in seconds are counted.
    `contact`: for HELP. `trusted`: this client may say XCLIENT. `normalise`: it may end lines in LF."""

    reverse_path: Address | None
    parameters: MailParameters
    _recipients: dict[Address, EnvelopeRecipient]  # in order, each once
    _accepted_recipients: int  # commands RCPT, of which some may have named the same address

    def _mail_commands(self) -> dict[str, Command]:
        known: dict[str, Command] = {"MAIL": self._mail, "RCPT": self._rcpt, "DATA": self._start_data}
        if Extension.CHUNKING in self._offered:
            known["BDAT"] = self._bdat
        if Extension.BURL in self._offered:
            known["BURL"] = commands.url_chunk
        return known

    @property
    def forward_paths(self) -> tuple[Address, ...]:
        """The addresses of `recipients`."""
        return tuple(self._recipients)

    @property
    def recipients(self) -> tuple[EnvelopeRecipient, ...]:
        """The accepted recipients of this transaction, in order."""
        return tuple(self._recipients.values())

    # Verdicts of the session

    def include(self, octets: bytes) -> None:
        """Octets of the chunk that BURL names, to be counted and looked at: call this before they are taken
        over. Raises MailError when they cannot be."""
        self._content.include(octets, binary=self._binary)

    def complete(self) -> None:
        """All octets of the last BURL have been included: call this before the message is taken over. Raises
        MailError for half a line end at the end of the content."""
        self._content.complete(binary=self._binary)

    def accept(self, text: str = "") -> None:
        """Yes to the pending event. `text` is the text of the reply that ends DATA."""
        event = self._pending
        match event:
            case Recipient():
                self._recipients.setdefault(
                    event.forward_path, EnvelopeRecipient(event.forward_path, event.notify, event.orcpt)
                )
                self._accepted_recipients += 1
                self._output += _RECIPIENT_OK
            case Mail():
                self.reverse_path, self.parameters = event.reverse_path, event.parameters
                self._output += _SENDER_OK
            case DataStart(chunked=True):
                self._content.open_chunk()
                self._pending, self.state = None, State.CHUNKS
                return
            case DataStart():
                self._output += _GO_AHEAD
                self._content.open_data()
            case Burl(last=False):
                self._output += _MORE
            case DataEnd() | Burl():
                self._output += (reply(250, "2.0.0", text) if text else OK) * self._verdicts
                self._reset()
                self._nuisance.forget()
                self._pending = None
                return
            case _:
                super().accept(text)
                return
        self._pending = None
        self.state = AFTER[type(event)]

    def refuse(self, error: MailError) -> None:
        """No to the pending event, or to content while it comes in: the rest of it is skipped then, and
        the refusal is due at its end (`DataSpoiled`)."""
        event = self._pending
        if event is None:
            self._content.spoil(error)
            return
        if isinstance(event, DataStart) and event.chunked:
            self._pending = None
            self._content.spoil(error)  # its octets come all the same
            self._content.open_chunk()
            return
        if isinstance(event, DataEnd | DataSpoiled | Burl):
            self._output += refusal(error) * (self._verdicts - 1)
            self._reset()
        super().refuse(error)

    def _reset(self) -> None:
        self.reverse_path = None
        self.parameters = NO_PARAMETERS
        self._recipients = {}
        self._accepted_recipients = 0
        self._content.reset()
        super()._reset()

    # Commands; each returns what the session must decide

    @property
    def _verdicts(self) -> int:
        """Replies at the end of content: in LMTP one for each RCPT that was accepted (RFC 2033 §4.2), but to
        a chunk that is not the last one there is one (§4.3)."""
        return self._accepted_recipients if self._lmtp and self._content.whole else 1

    def _mail(self, argument: str) -> Event:
        mail = commands.mail(argument, self._circumstances)
        if mail.size > self._limits.message:
            raise MailError(552, "5.3.4", f"Messages may have {self._limits.message} octets")
        return mail

    def _rcpt(self, argument: str) -> Event | None:
        if self._accepted_recipients >= self._limits.recipients:
            # No error of the client's: it may go on to DATA with those it has (RFC 5321 §4.5.3.1.10).
            self._output += _TOO_MANY_RECIPIENTS
            return Answered("RCPT")
        return commands.recipient(
            argument, self._postmaster_domain, self._circumstances, utf8=self.parameters.smtputf8
        )

    # Content

    @property
    def _binary(self) -> bool:
        return self.parameters.body == "BINARYMIME"

    def _start_data(self, argument: str) -> Event:
        commands.no_argument("DATA", argument)
        if self._binary:
            raise MailError(503, "5.5.1", "BINARYMIME content comes by BDAT")  # RFC 3030 §3
        return DataStart()

    def _bdat(self, argument: str) -> Event | None:
        """RFC 3030 §2: the octets of a chunk follow its line at once, welcome or not."""
        try:
            size, last = commands.chunk(argument)
        except MailError as error:  # nobody knows where commands begin again
            self.shut(error)
            return None
        self._content.announce_chunk(size, last=last, binary=self._binary)
        if self.state is State.RECIPIENT:  # the first one
            return DataStart(chunked=True)
        if (out_of_order := OUT_OF_ORDER.get(("BDAT", self.state))) is not None:
            self._content.spoil(MailError(*out_of_order))
        self._content.open_chunk()
        return None

    def _content_event(self) -> Event | None:
        if self._content.hopeless:
            self.shut(MailError(552, "5.3.4", f"Messages may have {self._limits.message} octets; closing"))
            return None
        event = self._content.next_event()
        if event is None or isinstance(event, DataChunk):
            return event
        if isinstance(event, ChunkEnd):
            return self._answered("BDAT", reply(250, "2.0.0", f"{event.size} octets received"))
        if isinstance(event, DataSpoiled) and not self._recipients:  # a chunk out of order
            self._content.reset()
            self._complain(event.error)
            return Answered("BDAT")
        self._pending = event
        return event
