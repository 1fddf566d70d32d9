"""Signed tokens: the examples of the RFCs, and what attackers make of them."""

import base64
import hmac
import itertools
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import example, given
from hypothesis import strategies as st
from token_signer import Signer, compact, encoded, number

from twisted_mta.directory.oauth.jwt import (
    LEEWAY,
    MAX_KEYS,
    MAX_TOKEN,
    BadToken,
    check,
    key_id,
    read_key_set,
    verified,
)

# RFC 7515 A.2 and A.3, RFC 8037 A.4: keys and signed octets
RSA_JWK = {
    "kty": "RSA",
    "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0B"
    "m4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5"
    "z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7"
    "aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
    "e": "AQAB",
}
CLAIMS = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
RSA_TOKEN = (
    f"eyJhbGciOiJSUzI1NiJ9.{CLAIMS}."
    "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2F"
    "p5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQB"
    "MHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeY"
    "I2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"
)
EC_JWK = {
    "kty": "EC",
    "crv": "P-256",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
}
EC_TOKEN = (
    f"eyJhbGciOiJFUzI1NiJ9.{CLAIMS}."
    "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
)
ED_JWK = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}


def key_set(*jwks: Any) -> Any:
    return read_key_set(json.dumps({"keys": jwks}).encode())


SIGNER = Signer()
KEYS = key_set(SIGNER.jwk)


@pytest.mark.parametrize(
    ("jwk", "token"), [(RSA_JWK, RSA_TOKEN), (EC_JWK, EC_TOKEN)], ids=["RFC 7515 A.2", "RFC 7515 A.3"]
)
def test_the_examples(jwk: dict[str, str], token: str) -> None:
    assert verified(token, key_set(jwk)) == {
        "iss": "joe",
        "exp": 1300819380,
        "http://example.com/is_root": True,
    }
    assert key_id(token) == ""
    head, payload, signature = token.split(".")
    for bad in (f"{head}.{payload[:-4]}AAAA.{signature}", f"{head}.{payload}.{signature[:-8]}AAAAAAAA"):
        with pytest.raises(BadToken, match="signature"):
            verified(bad, key_set(jwk))


def test_ed25519_of_rfc_8037() -> None:
    (key,) = key_set(ED_JWK)
    signed = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
    text = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
    key.verify["EdDSA"](base64.urlsafe_b64decode(text + "=="), signed)


@pytest.mark.parametrize("alg", ["RS256", "PS256", "ES256", "EdDSA"])
def test_each_algorithm(alg: str) -> None:
    signer = Signer(alg)
    keys = key_set(SIGNER.jwk | {"kid": "other"}, signer.jwk)
    assert verified(signer.token({"a": 1}), keys) == {"a": 1}
    if alg != "ES256":
        with pytest.raises(BadToken, match="no key"):
            verified(signer.token({}, alg="ES256"), keys)


def hmac_token(secret: bytes) -> str:
    """Signed with a public key as if it were a secret: the classic."""
    signed = compact(b'{"alg":"HS256","kid":"one"}', b"{}")
    return f"{signed}.{encoded(hmac.digest(secret, signed.encode(), 'sha256'))}"


@pytest.mark.parametrize(
    ("token", "why"),
    [
        (compact(b'{"alg":"none"}', b"{}", b""), "no key"),
        (compact(b'{"alg":"None","kid":"one"}', b"{}", b""), "no key"),
        (hmac_token(json.dumps(SIGNER.jwk).encode()), "no key"),
        (SIGNER.token({}, alg="RS256"), "no key"),
        (SIGNER.token({}, kid="two"), "no key"),
        (SIGNER.token({}, crit=["exp"]), "extension"),
        (SIGNER.token({}, b64=False), "extension"),
        (SIGNER.token({}, typ="logout+jwt"), "type"),
        (SIGNER.token({}, typ="dpop+jwt"), "type"),
        (Signer().token({}), "signature"),
        (Signer().token({}, jwk=SIGNER.jwk, jku="https://evil.test/", x5u="https://evil.test/"), "signature"),
        (f"{SIGNER.token({}).rpartition('.')[0]}.{encoded(bytes(64))}", "signature"),
        (f"{SIGNER.token({}).rpartition('.')[0]}.", "signature"),
        (SIGNER.token({}) + "=", "malformed"),
        (SIGNER.token({}) + ".", "not a signed token"),
        ("a.b", "not a signed token"),
        ("", "not a signed token"),
        ("..", "malformed"),
        ("!.!.!", "malformed"),
        (compact(b"[" * 4000, b"{}", b""), "malformed"),
        (compact(b'{"alg":' + b"[" * 4000, b"{}", b""), "malformed"),
        (compact(b'{"alg":["RS256"]}', b"{}", b""), "malformed"),
        (compact(b"\xff", b"{}", b""), "malformed"),
        ("a" * (MAX_TOKEN + 1), "too long"),
        ("\u00fc.\u00fc.\u00fc", "ASCII"),
    ],
    ids=map(str, itertools.count()),  # the tokens are others in each process
)
def test_what_is_no_good_is_refused_with_a_reason(token: str, why: str) -> None:
    with pytest.raises(BadToken, match=why):
        verified(token, KEYS)


def test_a_payload_that_is_no_object_is_refused_though_it_is_signed() -> None:
    for payload in (b"[]", b"1", b"{", b"\xff", b'{"a":' * 900):
        signed = compact(b'{"alg":"ES256"}', payload)
        with pytest.raises(BadToken, match="malformed"):
            verified(f"{signed}.{encoded(SIGNER.sign(signed.encode()))}", KEYS)


@given(st.text(alphabet=st.characters(codec="ascii"), max_size=200))
@example("e30.e30.e30")
def test_any_text_is_a_token_or_is_not(text: str) -> None:
    with pytest.raises(BadToken):
        verified(text, KEYS)


@given(st.binary(max_size=60), st.binary(max_size=60), st.binary(max_size=80))
def test_any_octets_in_its_parts(head: bytes, payload: bytes, signature: bytes) -> None:
    with pytest.raises(BadToken):
        verified(compact(head, payload, signature), KEYS)


NOW = 1_000_000.0
GOOD = {"iss": "https://id.test", "aud": "mail", "exp": NOW + 60}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, None),
        ({"aud": ["web", "mail"]}, None),
        ({"exp": NOW - LEEWAY + 1}, None),
        ({"nbf": NOW + LEEWAY - 1, "exp": NOW + 60.5}, None),
        ({"exp": NOW - LEEWAY}, "expired"),
        ({"nbf": NOW + LEEWAY + 1}, "not valid yet"),
        ({"iss": "https://id.test/"}, "issuer"),
        ({"iss": "https://id.tes"}, "issuer"),  # CVE-2024-53861: a part of the right one is not it
        ({"aud": "mai"}, "for"),
        ({"aud": []}, "for"),
        ({"aud": None}, "claims"),
        ({"aud": [1]}, "claims"),
        ({"iss": None}, "claims"),
        ({"iss": ["https://id.test"]}, "claims"),
        ({"exp": "9999999999"}, "claims"),
        ({"exp": True}, "claims"),
        ({"exp": None}, "claims"),
    ],
)
def test_claims(changes: dict[str, Any], why: str | None) -> None:
    claims = {name: value for name, value in {**GOOD, **changes}.items() if value is not None}
    if why is None:
        check(claims, issuer="https://id.test", audience=["mail", "calendar"], now=NOW)
    else:
        with pytest.raises(BadToken, match=why):
            check(claims, issuer="https://id.test", audience=["mail", "calendar"], now=NOW)


def weak_rsa() -> dict[str, Any]:
    numbers = rsa.generate_private_key(65537, 1024).public_key().public_numbers()
    return {"kty": "RSA", "n": number(numbers.n), "e": number(numbers.e, 1)}


@pytest.mark.parametrize(
    "jwk",
    [
        {"kty": "oct", "k": "c2VjcmV0"},
        SIGNER.jwk | {"use": "enc"},
        SIGNER.jwk | {"key_ops": ["sign"]},
        SIGNER.jwk | {"alg": "ES384"},
        SIGNER.jwk | {"crv": "P-521"},
        SIGNER.jwk | {"x": SIGNER.jwk["y"]},  # not on the curve
        SIGNER.jwk | {"x": "!"},
        RSA_JWK | {"e": number(2**40 + 1, 6)},
        RSA_JWK | {"n": number(2**9000 + 1)},
        RSA_JWK | {"n": ""},
        ED_JWK | {"x": "AAAA"},
        weak_rsa(),
        {},
        None,
        7,
        {"kty": 1},
    ],
)
def test_a_key_that_is_of_no_use_is_left_out(jwk: Any) -> None:
    assert [key.kid for key in key_set(jwk, SIGNER.jwk)] == ["one"]
    with pytest.raises(ValueError):
        key_set(jwk)


def test_a_key_is_good_for_what_it_says_only() -> None:
    (key,) = key_set(RSA_JWK | {"alg": "PS256"})
    assert list(key.verify) == ["PS256"]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{}",
        b'{"keys":{}}',
        b'{"keys":[]}',
        b"\xff",
        b'{"keys":' + b"[" * 100_000,
        json.dumps({"keys": [SIGNER.jwk] * (MAX_KEYS + 1)}).encode(),
    ],
)
def test_what_is_no_key_set(text: bytes) -> None:
    with pytest.raises(ValueError):
        read_key_set(text)
