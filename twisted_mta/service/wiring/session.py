"""The sessions of every service, made from the configuration: what a connection to each of them speaks to."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from twisted_mta.access.imap4.access import ImapAccess, ImapLimits
from twisted_mta.access.managesieve.session import OVERLOAD as SIEVE_OVERLOAD
from twisted_mta.access.managesieve.session import ManageSieveSession, ManageSieveSettings
from twisted_mta.access.pop3.login_delay import LoginDelay
from twisted_mta.access.pop3.session import OVERLOAD as POP3_OVERLOAD
from twisted_mta.access.pop3.session import Pop3Session, Pop3Settings
from twisted_mta.directory.directory import Directory
from twisted_mta.interfaces import IMailboxEvents, ISubmitter
from twisted_mta.journey.bus import Journey
from twisted_mta.journey.store import DATABASE
from twisted_mta.protocol.smtp.extensions import Extension, SmtpLimits
from twisted_mta.queue.mailqueue import MailQueue
from twisted_mta.service.options.config import Config
from twisted_mta.service.wiring.dkim import Signing
from twisted_mta.service.wiring.proxy import with_manners
from twisted_mta.service.wiring.reception import Gate
from twisted_mta.service.wiring.submission import submission_limits
from twisted_mta.steady import steady_seconds
from twisted_mta.store.store import MessageStore
from twisted_mta.transfer.mda.lmtp import Lmtp
from twisted_mta.transfer.mda.srs import ReversePaths
from twisted_mta.transfer.msa.submission import Submission, SubmissionPolicy
from twisted_mta.transfer.mta.reception import Reception, ReceptionPolicy
from twisted_mta.transfer.mtqp.session import OVERLOAD as MTQP_OVERLOAD
from twisted_mta.transfer.mtqp.session import MtqpSession
from twisted_mta.transfer.policy import TransferPolicy
from twisted_mta.transfer.recipient import IsFull
from twisted_mta.transfer.recoding import Recoding
from twisted_mta.transfer.screening.screening import UNSCREENED, Screening
from twisted_mta.transfer.session import OVERLOAD as SMTP_OVERLOAD
from twisted_mta.transfer.session import TransferSession
from twisted_mta.trust.judgement import Judge
from twisted_mta.wire.connection import Connection
from twisted_mta.wire.login import LoginMeans

IMAP_OVERLOAD = b"* BYE [UNAVAILABLE] Too many connections, try again later\r\n"  # RFC 5530

Make = Callable[[], Connection[Any]]
# By service, with what a client hears that is one too many.
Sessions = dict[str, tuple[Make, bytes]]

# What the whole house keeps to, and not the dialog alone.
_EXTENSIONS = frozenset(
    {
        Extension.SMTPUTF8,
        Extension.CHUNKING,
        Extension.BINARYMIME,
        Extension.DSN,
        Extension.REQUIRETLS,
        Extension.DELIVERBY,
        Extension.LIMITS,
    }
)
_FOR_LMTP = frozenset({Extension.SMTPUTF8, Extension.CHUNKING, Extension.BINARYMIME, Extension.DSN})
_FOR_SUBMISSION = frozenset({Extension.BURL, Extension.FUTURERELEASE, Extension.PRIORITY})


def transfer_sessions(
    config: Config,
    *,
    directory: Directory,
    queue: MailQueue,
    signing: Signing,
    is_full: IsFull,
    journey: Journey,
    reactor: Any,
    gate: Gate,
    judge: Judge,
    means: LoginMeans,
    returns: ReversePaths | None,
    submitting: Mapping[str, Any],
) -> Sessions:
    """Those that take mail in, and the one that tells what became of it. `submitting`: options of those for
    submission."""

    def sessions(
        kind: Callable[..., TransferSession[Any]],
        policy: TransferPolicy,
        screening: Screening = UNSCREENED,
        **options: Any,
    ) -> Make:
        policy = with_manners(policy, config.smtp, strangers=kind is not Submission)
        return partial(
            kind,
            directory=directory,
            intake=signing.own if kind is Submission else queue,
            journey=journey,
            reactor=reactor,
            policy=policy,
            is_full=is_full,
            returns=returns,
            screening=screening,
            recoding=recoding,
            **options,
        )

    recoding = Recoding(queue.in_thread)
    journey_file = Path(config.data_dir) / DATABASE
    submission = _submission(config, means, fetches=submitting["contents"] is not None)
    submit = sessions(Submission, submission, gate.screening("submission"), **submitting)
    receive = sessions(
        Reception, _reception(config), gate.screening("smtp"), judge=judge, relaying=signing.relaying
    )
    return {
        "smtp": (receive, SMTP_OVERLOAD),
        "lmtp": (sessions(Lmtp, _lmtp(config)), SMTP_OVERLOAD),
        "submission": (submit, SMTP_OVERLOAD),
        "submissions": (submit, SMTP_OVERLOAD),
        "mtqp": (
            lambda: MtqpSession(hostname=config.hostname, journey=journey_file, reactor=reactor),
            MTQP_OVERLOAD,
        ),
    }


def access_sessions(
    config: Config,
    *,
    directory: Directory,
    store: MessageStore,
    journey: Journey,
    reactor: Any,
    means: LoginMeans,
    submitter: ISubmitter,
    events: IMailboxEvents,
) -> Sessions:
    """Those in which people read their mail and keep their scripts."""
    imap = ImapAccess(
        directory=directory,
        store=store,
        journey=journey,
        reactor=reactor,
        allow_cleartext=config.auth.allow_cleartext,
        limits=ImapLimits(message=config.limits.message_size),
        submitter=submitter,
        events=events,
        means=means,
    )
    common: dict[str, Any] = {
        "hostname": config.hostname,
        "allow_cleartext": config.auth.allow_cleartext,
        "means": means,
    }
    settings = Pop3Settings(**common, unique_ids=config.pop3.unique_ids)
    delay = LoginDelay(steady_seconds(reactor), round(config.pop3.login_delay))

    def pop3() -> Pop3Session:
        return Pop3Session(
            settings,
            directory=directory,
            store=store,
            journey=journey,
            reactor=reactor,
            login_delay=delay,
        )

    scripts = ManageSieveSettings(**common)

    def managesieve() -> ManageSieveSession:
        return ManageSieveSession(scripts, directory=directory, store=store, journey=journey, reactor=reactor)

    return {
        "managesieve": (managesieve, SIEVE_OVERLOAD),
        "imap": (imap.session, IMAP_OVERLOAD),
        "imaps": (imap.session, IMAP_OVERLOAD),
        "pop3": (pop3, POP3_OVERLOAD),
        "pop3s": (pop3, POP3_OVERLOAD),
    }


def _common(config: Config) -> dict[str, Any]:
    limits = SmtpLimits(message=config.limits.message_size, recipients=config.limits.recipients)
    return {"hostname": config.hostname, "postmaster_domain": config.domains[0], "limits": limits}


def _reception(config: Config) -> ReceptionPolicy:
    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = tuple(
        network.network for network in config.relay.allow_networks
    )
    return ReceptionPolicy(
        **_common(config),
        allow_networks=networks,
        receiving=config.limits.receiving,
        extensions=_offered(config),
    )


def _lmtp(config: Config) -> TransferPolicy:
    return TransferPolicy(**_common(config), extensions=_FOR_LMTP)


def _submission(config: Config, means: LoginMeans, *, fetches: bool) -> SubmissionPolicy:
    """fetches: content may come from a mailbox (BURL)."""
    return SubmissionPolicy(
        hostname=config.hostname,
        postmaster_domain=config.domains[0],
        limits=submission_limits(config),
        allow_cleartext=config.auth.allow_cleartext,
        means=means,
        receiving=config.limits.receiving,
        extensions=_offered(config) | (_FOR_SUBMISSION if fetches else _FOR_SUBMISSION - {Extension.BURL}),
    )


def _offered(config: Config) -> frozenset[Extension]:
    """To everybody. To be tracked needs somebody to ask."""
    tracked = config.listen.mtqp and config.journey.keep
    return _EXTENSIONS | {Extension.TRACKING} if tracked else _EXTENSIONS
