"""What `mta quickstart` writes: the configuration, the data directory with an account and keys, the systemd
unit, the zone."""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from twisted_mta.directory.app_passwords import random_text
from twisted_mta.service import data_dir
from twisted_mta.service.certificate import kept_certificates, name_for_mail
from twisted_mta.service.commands.refused import Refused
from twisted_mta.service.directory_administration import opened_administration
from twisted_mta.service.options.config import Config, load
from twisted_mta.service.options.dkim import schedule
from twisted_mta.service.quickstart.decisions import PASSWORD_FILE, Decisions, Found
from twisted_mta.service.quickstart.user import make, owner_of
from twisted_mta.service.zone_facts import mail_of
from twisted_mta.setup.quickstart.plan import Plan, configuration
from twisted_mta.setup.quickstart.staging import Placed, Staging, give
from twisted_mta.setup.quickstart.unit import Unit
from twisted_mta.setup.records import zone_file
from twisted_mta.setup.zone import Mail, records
from twisted_mta.trust.dkim.keyring import DIRECTORY, Keyring
from twisted_mta.trust.dkim.rotation import missing

_UNIT = "twisted_mta.service"


@dataclass(frozen=True, slots=True)
class Written:
    """`password`: the random one of a new account, or "". `done`: in words, beside the files. `zone`: the
    file to use now. `mail`: what it was made of."""

    placed: Placed
    password: str
    done: tuple[str, ...]
    mail: Mail
    zone: Path
    unit: Unit

    @property
    def to_merge(self) -> list[Path]:
        """New files beside others that a person has to look at."""
        return [new for there, new in self.placed.beside if new != self.zone and there != self.unit.path]


def write(found: Found, decisions: Decisions) -> Written:
    """Raises Refused, ConfigError, DirectoryError and OSError; no file appears then."""
    is_new = not found.data_dir.exists()
    is_unused = not is_new and _is_roots_and_empty(found.data_dir)
    domain = found.address.address.domain
    with Staging(found.path.parent) as staging:
        tree = staging.tree(found.data_dir) if is_new else found.data_dir
        config = msgspec.structs.replace(_configuration(found, decisions, staging), data_dir=str(tree))
        unit = Unit(found.path.parent / _UNIT, _programs(), found.path, found.data_dir, decisions.user)
        staging.add(_UNIT, unit.text())
        _make_keys(config)
        _make_certificate_key(config)
        mail = mail_of(config, domain, decisions.addresses, young=decisions.young)
        heading = (f"What the DNS is to have for mail of {domain}; made by `mta quickstart`.",)
        staging.add(f"{domain}.zone", zone_file(records(mail), heading))
        password, done = _account(config, found, decisions) if is_new else ("", ())
        if decisions.create_user:
            make(decisions.user, found.data_dir)
            done = (f"Made: the system user {decisions.user}", *done)
        owner = owner_of(decisions.user) if os.geteuid() == 0 else None
        if is_unused and owner is not None:  # a disk for the mail, as it is mounted
            give(found.data_dir, owner)
        placed = staging.place(owner)
    if not is_new:
        password, done = _account(config, found, decisions)
    zone = found.path.parent / f"{domain}.zone"
    return Written(placed, password, done, mail, dict(placed.beside).get(zone, zone), unit)


def _is_roots_and_empty(data: Path) -> bool:
    return os.geteuid() == 0 and data.stat().st_uid == 0 and not os.listdir(data)


def _configuration(found: Found, decisions: Decisions, staging: Staging) -> Config:
    """The one that counts from now on; staged, unless the one that is there says the same already."""
    plan, before = decisions.plan, found.before
    if before is not None and not decisions.secret and _says(before, plan):
        return before
    trial = plan
    if decisions.secret:
        trial = replace(plan, password_file=str(staging.add(PASSWORD_FILE, f"{decisions.secret}\n", 0o600)))
    config = load(staging.add(found.path.name, configuration(trial)))
    staging.add(found.path.name, configuration(plan))
    return config if before is None else _taken_over(before, config)


def _taken_over(before: Config, config: Config) -> Config:
    """The one that is there with what has been decided now: all else in it is somebody's own."""
    taken = msgspec.structs.replace(
        before,
        hostname=config.hostname,
        domains=tuple(dict.fromkeys((*before.domains, *config.domains))),
        relay=msgspec.structs.replace(
            before.relay,
            smarthost=config.relay.smarthost,
            smarthost_user=config.relay.smarthost_user,
            smarthost_password_file=config.relay.smarthost_password_file,
        ),
        dmarc_reports=config.dmarc_reports if before.dmarc_reports.receive is None else before.dmarc_reports,
        tls_reports=config.tls_reports if before.tls_reports.receive is None else before.tls_reports,
    )
    if before.tls.acme.directory == config.tls.acme.directory:
        return taken
    mta_sts = before.mta_sts if before.mta_sts.mode else config.mta_sts
    return msgspec.structs.replace(taken, tls=config.tls, mta_sts=mta_sts)


def _says(config: Config, plan: Plan) -> bool:
    return (
        config.hostname == plan.hostname
        and set(plan.domains) <= set(config.domains)
        and config.tls.acme.directory == plan.acme
        and str(config.relay.smarthost or "") == plan.smarthost
        and config.relay.smarthost_user == plan.user
        and str(config.dmarc_reports.receive or "") == plan.reports
    )


@contextmanager
def _rights_kept() -> Iterator[None]:
    """The owner of the data directory writes there (`data_dir.enter`); afterwards we are ourselves again."""
    user, group, umask = os.geteuid(), os.getegid(), os.umask(0o077)
    try:
        yield
    finally:
        if os.geteuid() != user:
            os.seteuid(user)
            os.setegid(group)
        os.umask(umask)


def _make_keys(config: Config) -> None:
    """Those that are missing."""
    directory, rules, now = (
        Path(config.data_dir) / DIRECTORY,
        schedule(config.dkim, config.queue.lifetime),
        time.time(),
    )
    with _rights_kept():
        data_dir.enter(Path(config.data_dir))
        try:
            with closing(Keyring(directory)) as keyring:
                keyring.adopt(config.domains)  # files that somebody has put there, before any is missing
                for domain, algorithm in missing(keyring.stored(), config.domains, rules, now):
                    keyring.create(domain, algorithm, now)
        except sqlite3.Error as error:
            raise Refused(f"{directory}: {error}; no file was written") from error


def _make_certificate_key(config: Config) -> None:
    """That of the certificate that is yet to come, so that the DNS can have its TLSA record from the first
    day (RFC 7671 §8.1)."""
    acme, kept = config.tls.acme, kept_certificates(config)
    if not acme.directory or not acme.keep_key:
        return
    name = name_for_mail(config)
    with _rights_kept():
        data_dir.enter(Path(config.data_dir))
        if kept.pair(name) is None and kept.waiting_key(name) is None:
            kept.key_for(name, acme.key, keep=True)


def _account(config: Config, found: Found, decisions: Decisions) -> tuple[str, tuple[str, ...]]:
    """The first account and the alias for reports, unless they are there. The random password, and what was
    done."""
    address, reports, done, password = str(found.address), decisions.plan.reports, [], ""
    with _rights_kept(), opened_administration(config) as directory:
        accounts, aliases = directory.accounts(), directory.aliases()
        if address not in accounts:
            password = "" if decisions.password else random_text(4)
            directory.add_account(address, decisions.password or password)
            done.append(f"Made: the account {address}")
        if reports not in aliases and reports not in (*accounts, address):
            directory.add_alias(reports, [address])
            done.append(f"Made: the alias {reports}, which leads to {address}")
    return password, tuple(done)


def _programs() -> Path:
    """Where `mta` and `twistd` are."""
    here = Path(sys.executable).parent
    if (here / "twistd").exists():
        return here
    found = shutil.which("twistd")
    return Path(found).parent if found else here
