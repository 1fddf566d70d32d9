"""docs/replies.md has every reply that the code of the SMTP services can give, and none that it cannot."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PACKAGE = ROOT / "twisted_mta"
ROW = re.compile(r"\| `(?P<reply>[2-5][0-9]{2} .*?)` \| (?P<services>[SUL ]+) \|")

# Modules whose errors no SMTP client hears: they end up in reports and in other protocols.
ELSEWHERE = (
    *(
        "access/",
        "service/",
        "store/",
        "sieve/",
        "transfer/mtqp/",
        "transfer/mta/relay/",
        "transfer/mta/tls/",
    ),
    *("transfer/mta/routing.py", "transfer/mda/", "transfer/msa/outbox", "transfer/msa/composition.py"),
    *("protocol/imap4/", "protocol/pop3/", "protocol/managesieve/", "protocol/mtqp/"),
    *("protocol/smtp/client", "protocol/smtp/reply_reader.py"),
)
HEARD = ("transfer/mda/lmtp.py", "transfer/mda/membership.py")  # of those, at RCPT
ANY = "…"
# Rows whose codes or texts are put together elsewhere than in one call.
BY_HAND = ("250 …", "214 2.0.0 …", "334 …", "450 4.7.25 Client refused: …", "550 5.7.25 Client refused: …")


def literal(node: ast.expr) -> str:
    """The text, with `…` for what is filled in."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else ANY for part in node.values)
    return ANY


def makers(tree: ast.Module) -> dict[str, list[ast.expr]]:
    """Functions that are nothing but a MailError with a text of the caller's: name -> code and status."""
    found = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and isinstance(last := node.body[-1], ast.Return):
            call = last.value
            is_error = isinstance(call, ast.Call) and getattr(call.func, "id", "") == "MailError"
            if is_error and node.args.args and getattr(call.args[2], "id", "") == node.args.args[0].arg:
                found[node.name] = call.args[:2]
    return found


def replies(module: Path) -> Iterator[tuple[int, str, str]]:
    """(line, code and status, text) of each reply that is made there."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    own = makers(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", "")
            if name in own and node.args:
                parts = [*own[name], node.args[0]]
            elif name in ("MailError", "reply") and len(node.args) == 3:
                parts = node.args
            else:
                continue
        elif isinstance(node, ast.Tuple) and len(node.elts) == 3 and module.name == "states.py":
            parts = node.elts
        else:
            continue
        code, status, text = map(literal, parts)
        if code != ANY and code.isdigit():
            yield node.lineno, f"{code} {status}".strip(), text


def heard_modules() -> Iterator[Path]:
    for module in sorted(PACKAGE.rglob("*.py")):
        name = module.relative_to(PACKAGE).as_posix()
        if name.startswith(HEARD) or not name.startswith(ELSEWHERE):
            yield module


def rows() -> list[str]:
    text = (ROOT / "docs" / "replies.md").read_text(encoding="utf-8")
    return [match["reply"] for line in text.splitlines() if (match := ROW.match(line))]


def matches(pattern: str, text: str) -> bool:
    return re.fullmatch(re.escape(pattern).replace(re.escape(ANY), ".*"), text) is not None


def test_the_code_and_the_document_have_the_same_replies() -> None:
    known, seen, missing = rows(), set(BY_HAND), []
    for module in heard_modules():
        for line, head, text in replies(module):
            reply = f"{head} {text}"
            meant = [
                row for row in known if matches(reply, row) or (row not in BY_HAND and matches(row, reply))
            ]
            seen.update(meant)
            if not meant:
                missing.append(f"{module.relative_to(ROOT)}:{line}: {head} {text}")
    assert not missing
    assert [row for row in known if row not in seen] == []
    assert len(known) == len(set(known)) > 100
