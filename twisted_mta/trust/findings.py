"""What the methods found out, as Authentication-Results tells it (RFC 8601 §2.7, RFC 6008, RFC 7489 §11, RFC
8617 §10)."""

from __future__ import annotations

from collections.abc import Sequence

from twisted_mta.message.address import Address
from twisted_mta.trust.arc.validate import ArcResult
from twisted_mta.trust.dkim.verify import DkimResult
from twisted_mta.trust.dmarc.evaluate import DmarcResult
from twisted_mta.trust.finding import Finding
from twisted_mta.trust.spf.check import SpfResult

_IPREV = {"none": "permerror"}  # RFC 8601 §2.7.3 has no word of its own for an address without a name
_IPREV_REASONS = {"none": "the address has no name", "fail": "the name does not lead back to the address"}


def of_spf(found: SpfResult, reverse_path: Address | None, helo: str, seconds: float) -> Finding:
    """`reverse_path` None: the host's name was looked at in its place."""
    looked_at = {"smtp.helo": helo} if reverse_path is None else {"smtp.mailfrom": str(reverse_path)}
    reason = found.problem or (f"matched {found.mechanism}" if found.mechanism else "")
    return Finding("spf", found.result, looked_at, reason, seconds)


def of_dkim(results: Sequence[DkimResult], seconds: float) -> list[Finding]:
    """One for each signature, or one that says that there is none."""
    if not results:
        return [Finding("dkim", "none", {}, "the message is not signed", seconds)]
    return [
        Finding(
            "dkim",
            found.result,
            {
                "header.d": found.domain,
                "header.i": found.identity,
                "header.s": found.selector,
                "header.a": found.algorithm,
                "header.b": found.value,
            },
            found.reason + (" (testing)" if found.testing and found.reason else ""),
            seconds,
        )
        for found in results
    ]


def of_arc(found: ArcResult, address: str, seconds: float) -> Finding:
    """`address`: of the client, which whoever seals next has to tell (RFC 8617 §4.1.1). What the DNS may say
    later breaks no chain: that is "temperror"."""
    result = "temperror" if found.temporary else found.result
    sealers = f"sealed by {', '.join(found.sealers[-3:])}" if found.sealers else ""
    return Finding("arc", result, {"smtp.remote-ip": address}, found.reason or sealers, seconds)


def of_dmarc(found: DmarcResult, seconds: float) -> Finding:
    """With the policy that the author's domain has, if any."""
    policy = found.policy if found.found is not None and found.found.record is not None else ""
    looked_at = {"header.from": found.author, "policy.dmarc": policy}
    return Finding("dmarc", found.result, looked_at, found.reason, seconds)


def of_iprev(reverse: str, name: str, address: str) -> Finding:
    """`reverse`: pass, fail, none or temperror."""
    reason = name if reverse == "pass" else _IPREV_REASONS.get(reverse, "")
    return Finding("iprev", _IPREV.get(reverse, reverse), {"policy.iprev": address}, reason)


def in_words(finding: Finding) -> str:
    """For the journey: `spf=pass for ann@a.test (matched mx), 0.012 s`."""
    about = next((value for value in finding.properties.values() if value), "")
    text = f"{finding.method}={finding.result}"
    if about:
        text += f" for {about}"
    if finding.reason:
        text += f" ({finding.reason})"
    return text + (f", {finding.seconds:.3f} s" if finding.seconds else "")
