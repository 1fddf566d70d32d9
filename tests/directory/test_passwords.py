"""What may be a password, and the hashes."""

import subprocess
import sys

import pytest
from process import environment

from twisted_mta.directory.passwords import MAX_PASSWORD, BadPassword, hash_password, prepare, verify


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "a\0b",
        "a\nb",
        "\x7f",
        "\udcff",
        "x" * (MAX_PASSWORD + 1),
        "ä" * MAX_PASSWORD,
        "\u00ad",
        "\u0627\u0031",
    ],
)
def test_what_cannot_be_a_password_is_refused(bad: str) -> None:
    with pytest.raises(BadPassword):
        prepare(bad)


@pytest.mark.parametrize(
    ("typed", "prepared"),
    [
        ("I\u00adX", "IX"),
        ("user", "user"),
        ("USER", "USER"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        ("a\u00a0b", "a b"),
    ],
)
def test_saslprep_of_rfc_4013(typed: str, prepared: str) -> None:
    assert prepare(typed) == prepared


def test_the_hash_is_argon2id_and_salted() -> None:
    first, second = hash_password("secret"), hash_password("secret")
    assert first.startswith("$argon2id$")
    assert first != second
    assert verify("secret", first)
    assert not verify("Secret", first)


@pytest.mark.parametrize("junk", ["", "secret", "$argon2id$v=19$m=1", "$1$abc$def"])
def test_a_stored_text_that_is_no_hash_fits_no_password(junk: str) -> None:
    assert not verify("secret", junk)


def test_hashing_loads_nothing_any_more() -> None:
    """Else `mta`, once it has become the owner of the data, may not be able to read it."""
    program = (
        "import sys\n"
        "from twisted_mta.directory.passwords import hash_password, prepare\n"
        "loaded = set(sys.modules)\n"
        "hash_password(prepare('p\u00e4ssword'))\n"
        "print(*set(sys.modules) - loaded)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment(), check=True
    )
    assert done.stdout == "\n"
