"""Signatures and seals, made from the configuration: who puts mail into the queue in whose name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted_mta.interfaces import IIntake, IResolver
from twisted_mta.service.options.config import Config
from twisted_mta.service.options.dkim import schedule
from twisted_mta.transfer.mta.bounce import Sign
from twisted_mta.transfer.mta.relay.relay import Seal
from twisted_mta.transfer.recoding import Renew
from twisted_mta.transfer.signed_intake import SignedIntake, authors, leaving, nobody, posts
from twisted_mta.trust.arc.sealer import Sealer
from twisted_mta.trust.dkim.keeper import KeyKeeper
from twisted_mta.trust.dkim.keyring import DIRECTORY
from twisted_mta.trust.dkim.signer import Signer


class Signing:
    """The ways into the queue: `own` for what our accounts and we ourselves write, `relaying` for what comes
    from networks that are allowed to, `posts` for what lists pass on, `onward` for what scripts send on.
    `sign` is for whole messages of our own, `seal` and `renew` are for the relay; None when nothing is
    signed. `parts` are started before the first mail is."""

    def __init__(
        self,
        config: Config,
        *,
        queue: IIntake,
        is_ours: Callable[[str], bool],
        resolver: IResolver,
        reactor: Any,
    ) -> None:
        self.own = self.relaying = self.posts = self.onward = queue
        self.sign: Sign | None = None
        self.seal: Seal | None = None
        self.renew: Renew | None = None
        self.parts: list[tuple[str, KeyKeeper]] = []
        self.domains = list(config.domains)  # may become others while the server runs
        if not config.dkim.enabled:
            return
        signer = Signer(reactor.seconds)
        sealer = Sealer(signer, config.hostname)
        self.sign, self.seal, self.renew = signer.signed, sealer.of_content, signer.renewed
        self.own = SignedIntake(queue, signer=signer, as_whom=authors)
        self.relaying = SignedIntake(queue, signer=signer, as_whom=leaving(is_ours))
        self.posts = SignedIntake(queue, signer=signer, as_whom=posts, sealer=sealer)
        self.onward = SignedIntake(queue, signer=signer, as_whom=nobody, sealer=sealer)
        keeper = KeyKeeper(
            Path(config.data_dir) / DIRECTORY,
            signer=signer,
            domains=self.domains,
            schedule=schedule(config.dkim, config.queue.lifetime),
            resolver=resolver,
            reactor=reactor,
        )
        self.parts = [("DKIM keys", keeper)]
