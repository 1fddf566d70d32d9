"""Every test of ValiMail's suite for RFC 8617, when it lies at ../shared. Acceptance 41."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from dictionary_resolver import DictionaryResolver
from twisted.internet.defer import Deferred

from twisted_mta.message.headers import header_end, values
from twisted_mta.trust.arc.seal import seal
from twisted_mta.trust.arc.validate import ArcResult, Validation
from twisted_mta.trust.dkim.canonical import BodyHash
from twisted_mta.trust.dkim.sign import SigningKey
from twisted_mta.trust.dkim.tags import parse_tags, without_space
from twisted_mta.trust.results import merged

SUITE = Path(__file__).resolve().parents[3] / "shared/suites/arc"
ABSENT = pytest.mark.skip(reason=f"no suite at {SUITE}")


def cases(file: str) -> list[Any]:
    if not SUITE.is_dir():
        return [pytest.param({}, {}, id="absent", marks=ABSENT)]
    return list(_cases(SUITE / file))


def _cases(path: Path) -> Iterator[Any]:
    for scenario in yaml.safe_load_all(path.read_text("utf-8")):
        for name, case in (scenario or {}).get("tests", {}).items():
            yield pytest.param(case, scenario, id=f"{scenario['description'].strip()}-{name}")


def split(text: str) -> tuple[bytes, bytes]:
    whole = text.replace("\r\n", "\n").replace("\n", "\r\n").encode()
    end = header_end(whole)
    return (whole, b"") if end < 0 else (whole[:end], whole[end:])


def validate(header: bytes, body: bytes, scenario: dict[str, Any]) -> tuple[Validation, ArcResult]:
    texts = {
        name: ["".join(text) if isinstance(text, list) else text.replace("\n", "")]
        for name, text in (scenario.get("txt-records") or {}).items()
    }
    validation = Validation(header)
    validation.feed(body)
    found: list[ArcResult] = []
    Deferred.fromCoroutine(validation.result(DictionaryResolver(texts=texts))).addCallback(found.append)
    return validation, found[0]


@pytest.mark.parametrize(("case", "scenario"), cases("arc-draft-validation-tests.yml"))
def test_validation(case: dict[str, Any], scenario: dict[str, Any]) -> None:
    _, result = validate(*split(case["message"]), scenario)
    wanted = case["cv"].strip().lower()
    assert result.result == (wanted or "fail"), result  # empty where a set says itself that the chain fails


@pytest.mark.parametrize(("case", "scenario"), cases("arc-draft-sign-tests.yml"))
def test_sealing(case: dict[str, Any], scenario: dict[str, Any]) -> None:
    header, body = split(case["message"])
    validation, result = validate(header, body, scenario)
    key = load_pem_private_key(scenario["privatekey"].encode(), None)
    body_hash = BodyHash("relaxed")
    body_hash.feed(body)
    found = merged(header, case["srv-id"])
    state = re.search(r"arc=(\w+)", found)
    sealed = seal(
        SigningKey(scenario["domain"], scenario["sel"], key),
        header,
        body_hash.digest(),
        chain=validation.sets,
        state=state[1] if state else result.result,
        findings=found,
        now=float(case["t"]),
        names=[name.encode() for name in case["sig-headers"].split(":")],
    )
    (ours,) = [tags_of(value) for value in values(sealed, b"ARC-Message-Signature")] or [{}]
    assert ours == tags_of(case["AMS"].encode())
    # The seal covers how the other fields are folded, which is our own matter: it is verified, not compared.
    (ours,) = [tags_of(value) for value in values(sealed, b"ARC-Seal")] or [{}]
    wanted = tags_of(case["AS"].encode())
    assert {**ours, "b": ""} == {**wanted, "b": ""} if wanted else not ours
    if wanted.get("cv") in ("none", "pass"):
        assert validate(sealed + header, body, scenario)[1].result == "pass"


def tags_of(value: bytes) -> dict[str, str]:
    return {tag: without_space(text) for tag, text in parse_tags(value.decode()).items()}
