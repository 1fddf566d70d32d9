"""The answers of `mta quickstart --answers FILE`: TOML, every key as the question at the terminal has it."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from twisted_mta.service.commands.refused import Refused
from twisted_mta.service.options.complaint import complaint
from twisted_mta.setup.quickstart.questions import Given, Interview, Terminal


class Answers(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is left out goes by what was found. `password`: of the first account; none: a random one is
    shown. `agree_tos`: to the terms of the authority for certificates. `create_user`: make the system
    user."""

    hostname: str = ""
    public_addresses: tuple[str, ...] = ()
    smarthost: str | None = None
    smarthost_user: str = ""
    smarthost_password: str = ""
    certificate: Literal["", "acme", "self-signed"] = ""
    authority: str = ""
    authorities: str = ""
    agree_tos: bool = False
    password: str = ""
    create_user: bool = False


def interview(path: Path | None) -> Interview:
    """With the file, or with who sits at the terminal. Raises Refused."""
    if path is None:
        if not sys.stdin.isatty():
            raise Refused(
                "there is no terminal to ask at; write the answers into a file, and: --answers FILE"
            )
        return Terminal()
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        answers = msgspec.convert(table, Answers, strict=True)
    except OSError as error:
        raise Refused(f"{path}: cannot read the answers: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Refused(f"{path}: the file is not UTF-8 text") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise Refused(f"{path}: not valid TOML: {error}") from error
    except msgspec.ValidationError as error:
        raise Refused(f"{path}: {complaint(error, Answers)}") from error
    given = msgspec.to_builtins(answers)
    if "public_addresses" in given:
        given["public_addresses"] = " ".join(given["public_addresses"])
    return Given({"agree_tos": False, "create_user": False, **given})
