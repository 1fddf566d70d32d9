"""What `mta check --live` asks of others: whether mail gets out, and whether they find the policy for mail to
us."""

from __future__ import annotations

import ipaddress
from typing import Any

from twisted.internet.threads import deferToThreadPool

from twisted_mta.https import FetchError, HttpsClient
from twisted_mta.interfaces import IResolver
from twisted_mta.resolver import ResolutionError
from twisted_mta.service.options.config import Config
from twisted_mta.service.own_policy import own_policy
from twisted_mta.service.wiring.web import STS_LABEL, STS_PATH
from twisted_mta.setup.dialog import NoAnswer, Place, look
from twisted_mta.setup.finding import Finding
from twisted_mta.transfer.mta.tls.mta_sts import StsPolicy

PROVIDER = "gmail.com"  # whose mail servers are there and answer everybody
_MOST_HOSTS = 3
_PATIENCE = 10.0
_LARGEST_POLICY = 64 * 1024
_BLOCKED = (
    "does your provider let mail out at port {port}? Many do not: ask for it, or hand all mail to a server "
    'of theirs: [relay] smarthost = "…"'
)


async def outbound(config: Config, provider: str, resolver: IResolver, reactor: Any) -> Finding:
    """Whether mail servers can be called: the smarthost, or those of `provider`. Sends no mail."""
    relay = config.relay
    if relay.proxy is not None:
        return Finding("outbound mail", "skipped", "not tried: it goes through relay.proxy")
    smarthost = relay.smarthost if relay.smarthost_use == "always" else None
    if smarthost is not None:
        bare = smarthost.host.removeprefix("smtps:").removeprefix("lmtp:").strip("[]")
        tls = "implicit" if smarthost.startswith("smtps:") else ""
        hosts, port, language = [bare], smarthost.port, "lmtp" if smarthost.startswith("lmtp:") else "smtp"
    else:
        tls, port, language = "", relay.port, "smtp"
        try:
            found = await resolver.mx(provider)
        except ResolutionError as error:
            return Finding("outbound mail", "unknown", f"not tried: {error}")
        hosts = [name for _, name in sorted(found.records if found is not None else ())][:_MOST_HOSTS]
    return await _first(config, hosts, Place(language, "", port, tls, ""), resolver, reactor)


async def _first(config: Config, hosts: list[str], like: Place, resolver: IResolver, reactor: Any) -> Finding:
    """Whether one of them answers."""
    trouble = ""
    sources = {":" in source: str(source) for source in config.relay.sources}
    for host in hosts:
        for address in await _addresses(host, resolver):
            place = Place(
                like.language, address, like.port, like.tls, host, source=sources.get(":" in address, "")
            )
            try:
                pool = reactor.getThreadPool()
                await deferToThreadPool(reactor, pool, look, place, _PATIENCE)
            except NoAnswer as error:
                trouble = f"{host} ({place}): {error}"
                if error.connected:
                    text = f"the port is open, but {trouble}; is this address known for bad mail?"
                    return Finding("outbound mail", "warning", text)
            else:
                return Finding("outbound mail", "ok", f"{host} ({place}) answers")
    if not trouble:
        return Finding("outbound mail", "unknown", "not tried: the DNS has no mail server to call")
    smarthost = config.relay.smarthost is not None and config.relay.smarthost_use == "always"
    advice = "see relay.smarthost" if smarthost else _BLOCKED.format(port=like.port)
    return Finding("outbound mail", "wrong", f"{trouble}; {advice}")


async def _addresses(host: str, resolver: IResolver) -> tuple[str, ...]:
    try:
        return (str(ipaddress.ip_address(host)),)
    except ValueError:
        pass
    try:
        found = await resolver.addresses(host)
    except ResolutionError:
        return ()
    return found.records if found is not None else ()


async def policy(config: Config, domain: str, https: HttpsClient) -> list[Finding]:
    """Whether others get our MTA-STS policy (RFC 8461 §3.3), as they would fetch it."""
    ours = own_policy(config)
    if ours is None:
        return []
    subject, url = f"MTA-STS policy of {domain}", f"https://{STS_LABEL}.{domain}{STS_PATH}"
    try:
        content, _ = await https.get(url, limit=_LARGEST_POLICY)
        theirs = StsPolicy.parse(content)
    except FetchError as error:
        state = "a certificate for that name is missing" if error.certificate else "is port 443 open?"
        return [Finding(subject, "wrong", f"cannot be fetched: {error}; {state}")]
    except ValueError as error:
        return [Finding(subject, "wrong", f"{url} has something else: {error}")]
    if theirs != ours:
        return [
            Finding(
                subject, "wrong", f"{url} has another one than this configuration; is it read? mta reload"
            )
        ]
    return [Finding(subject, "ok", f"{url} has it")]
