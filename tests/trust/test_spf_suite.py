"""Every test of openspf's suite for RFC 7208, when it lies at ../shared. Acceptance 41."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dns.reversename
import pytest
import yaml
from twisted.internet.defer import Deferred

from twisted_mta.interfaces import Found
from twisted_mta.resolver import ResolutionError
from twisted_mta.trust.spf.check import SpfResult, check_host

SUITE = Path(__file__).resolve().parents[3] / "shared/suites/spf/rfc7208-tests.yml"
DEFAULT_EXPLANATION = "DEFAULT"


class Zone:
    """The DNS of one scenario. A name with TIMEOUT answers only what it lists."""

    def __init__(self, zone_data: dict[str, list[Any]]) -> None:
        self._zone = {name.lower(): entries for name, entries in zone_data.items()}

    def _records(self, name: str, kind: str) -> Found[Any] | None:
        for _ in range(10):
            entries = self._zone.get(name.rstrip(".").lower())
            if entries is None:
                return None
            kinds = [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]
            alias = [entry["CNAME"] for entry in entries if isinstance(entry, dict) and "CNAME" in entry]
            if not alias:
                break
            name = alias[0]
        wanted = "SPF" if kind == "TXT" and "TXT" not in kinds else kind
        found = [entry[wanted] for entry in entries if isinstance(entry, dict) and wanted in entry]
        found = [value for value in found if value != "NONE"]
        if not found and "TIMEOUT" in kinds:
            raise ResolutionError(f"{kind} of {name}: no answer")
        return Found(tuple(found))

    async def txt(self, name: str) -> Found[str] | None:
        found = self._records(name, "TXT")
        return found and Found(tuple("".join(t) if isinstance(t, list) else t for t in found.records))

    async def mx(self, name: str) -> Found[tuple[int, str]] | None:
        found = self._records(name, "MX")
        return found and Found(tuple((preference, host.lower()) for preference, host in found.records))

    async def ipv4(self, name: str) -> Found[str] | None:
        return self._records(name, "A")

    async def ipv6(self, name: str) -> Found[str] | None:
        return self._records(name, "AAAA")

    async def ptr(self, address: str) -> Found[str] | None:
        name = dns.reversename.from_address(address).to_text(omit_final_dot=True)
        found = self._records(name, "PTR")
        return found and Found(tuple(target.lower() for target in found.records))


def cases() -> Iterator[Any]:
    if not SUITE.exists():
        yield pytest.param({}, {}, id="absent", marks=pytest.mark.skip(reason=f"no suite at {SUITE}"))
        return
    for scenario in yaml.safe_load_all(SUITE.read_text("utf-8")):
        for name, case in scenario["tests"].items():
            yield pytest.param(case, scenario["zonedata"], id=f"{scenario['description']}-{name}")


@pytest.mark.parametrize(("case", "zone_data"), list(cases()))
def test_case(case: dict[str, Any], zone_data: dict[str, list[Any]]) -> None:
    found: list[SpfResult] = []
    judging = check_host(
        case["host"],
        case["mailfrom"],
        case["helo"],
        resolver=Zone(zone_data),
        receiver="receiver.test",
        seconds=lambda: 1_400_000_000.0,
    )
    Deferred.fromCoroutine(judging).addCallback(found.append)
    (result,) = found
    allowed = case["result"] if isinstance(case["result"], list) else [case["result"]]
    assert result.result in allowed, result
    if result.result == "fail" and "explanation" in case:
        assert (result.explanation or DEFAULT_EXPLANATION) == case["explanation"]
