"""The process that gets no certificates itself notices those that the other one has got."""

from pathlib import Path

from certificates import authority
from configured import configured
from cryptography.hazmat.primitives.serialization import Encoding
from dictionary_resolver import DictionaryResolver
from queue_house import now
from twisted.internet.defer import execute
from twisted.internet.task import Clock

from twisted_mta.service.certificate import Certificates, kept_certificates
from twisted_mta.service.options.tls import LETS_ENCRYPT
from twisted_mta.service.wiring import acme
from twisted_mta.service.wiring.acme import LOOK, CertificateUpkeep


class Reactor(Clock):
    """Work in threads is done at once."""

    def getThreadPool(self) -> None:
        """There is none."""


def test_a_renewed_certificate_is_shown_without_a_restart(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(acme, "deferToThreadPool", lambda reactor, pool, *call: execute(*call))
    tls = {"acme": {"directory": LETS_ENCRYPT, "agree_tos": True}}
    listen = {"imaps": ["127.0.0.1:2993"], "http": ["127.0.0.1:2980"]}
    config = configured(tmp_path, tls=tls, listen=listen, roles=["access"])
    certificates, clock = Certificates(config), Reactor()
    upkeep = CertificateUpkeep(config, certificates, resolver=DictionaryResolver(), reactor=clock, gets=False)
    now(upkeep.start())
    kept = kept_certificates(config)
    for _ in range(2):  # the first of them, and the one that follows
        issued = authority().issue("mx.a.test")
        chain = b"".join(each.public_bytes(Encoding.PEM) for each in issued.chain)
        kept.put("mx.a.test", issued.key, chain)
        assert issued.chain[0] not in [pair.certificate for pair in certificates.shown.pairs]
        clock.advance(LOOK)
        assert certificates.shown.pairs[0].certificate == issued.chain[0]
    now(upkeep.stop())
    assert not clock.getDelayedCalls()
