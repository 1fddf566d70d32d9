"""The judgement about mail of strangers, made from the configuration. In which order things go stands in
`trust/judgement.py`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.threads import deferToThread

from twisted_mta.interfaces import IResolver
from twisted_mta.service.options.config import Config
from twisted_mta.trust.check import Check
from twisted_mta.trust.dmarc.discovery import read_suffixes
from twisted_mta.trust.judgement import Hear, Judge, Keep
from twisted_mta.trust.policy import TrustRules


class Suffixes:
    """The list of public suffixes, read before the first message needs it."""

    async def start(self) -> None:
        """Read it, in a thread."""
        await deferToThread(read_suffixes)

    async def stop(self) -> None:
        """Nothing to let go of."""


def build_judge(
    config: Config,
    *,
    resolver: IResolver,
    reactor: Any,
    any_recipient: Sequence[Check] = (),
    recipient: Sequence[Check] = (),
    content: Sequence[Check] = (),
    hear: Hear | None = None,
    keep: Keep | None = None,
) -> Judge:
    """resolver: one that strangers may keep busy."""
    trust = config.trust
    return Judge(
        TrustRules(
            service=config.hostname,
            dmarc=trust.dmarc,
            domains=trust.domains,
            spf=trust.spf,
            sealers=frozenset(trust.sealers),
            dns=trust.dns,
            junk_score=trust.junk_score,
            reject_score=trust.reject_score,
        ),
        resolver=resolver,
        reactor=reactor,
        any_recipient=any_recipient,
        recipient=recipient,
        content=content,
        hear=hear,
        keep=keep,
    )
