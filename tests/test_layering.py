"""The layers hold: who imports whom, who does no I/O, and every RFC that is cited stands in docs/rfc.md."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "twisted_mta"
MODULES = sorted(PACKAGE.rglob("*.py"))

# What each part may import beside itself. A part is a package or module right below `twisted_mta`.
_BASE = {"interfaces", "message"}
_DISK = {"database", "database_thread", "durable"}
_KNOWLEDGE = {
    *("sieve", "trust", "directory", "queue", "store", "journey", "metrics", "resolver", "https"),
    *("shared_questions", "steady"),
    *_DISK,
    *_BASE,
}
MAY_IMPORT = {
    "message": set(),
    "interfaces": {"message", "protocol"},
    "protocol": {"message"},
    "sieve": {"message"},
    "shared_questions": set(),
    "steady": set(),
    "durable": set(),
    "database": {"durable"},
    "database_thread": {"database"},
    "journey": {*_DISK, *_BASE},
    "metrics": {"journey"},
    "directory": {"https", "journey", "protocol", "shared_questions", "steady", *_DISK, *_BASE},
    "queue": {"database", "durable", "journey", "metrics", *_BASE},
    "store": {"database", "durable", "journey", "metrics", *_BASE},
    "resolver": {"shared_questions", "steady", *_BASE},
    "trust": {"https", "journey", "protocol", "resolver", "shared_questions", "steady", *_DISK, *_BASE},
    "https": {"resolver", *_BASE},
    "certificates": {"durable", "https", "resolver", *_BASE},
    "backup": {"database", "durable", "queue", "store"},
    "setup": {"resolver", "trust", *_BASE},
    "web": {"wire", *_BASE},
    "wire": {"journey", "metrics", "protocol", "steady", *_DISK, *_BASE},
    "handover": {"__version__", "trust", *_BASE},
    "transfer": {"wire", "protocol", *_KNOWLEDGE},
    "access": {"wire", "protocol", *_KNOWLEDGE},
    "service": {
        "backup",
        "certificates",
        "handover",
        "web",
        "setup",
        "transfer",
        "access",
        "wire",
        "protocol",
        *_KNOWLEDGE,
    },
}
SANS_IO = {"message", "protocol", "sieve"}
IO = {
    "asyncio",
    "OpenSSL",
    "select",
    "selectors",
    "socket",
    "sqlite3",
    "ssl",
    "subprocess",
    "threading",
    "twisted",
    "zope",
}


def part_of(module: Path) -> str:
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py")


@cache
def tree_of(module: Path) -> ast.Module:
    return ast.parse(module.read_text(encoding="utf-8"))


def imports(module: Path) -> Iterator[str]:
    """The full names of the modules it imports, those for type checkers too."""
    for node in ast.walk(tree_of(module)):
        yield from imported(node)


def imported(node: ast.AST) -> Iterator[str]:
    """The full names in one import."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "relative import"
        assert node.module is not None
        yield node.module
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def name_of(module: Path) -> str:
    return str(module.relative_to(ROOT))


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_a_module_imports_only_from_the_layers_below(module: Path) -> None:
    part = part_of(module)
    if part == "__init__":
        return
    used = {name.split(".")[1] for name in imports(module) if name.startswith("twisted_mta.")}
    assert used - {part} <= MAY_IMPORT[part]


def test_no_imports_go_round_in_circles() -> None:
    """At the top of modules; what is only for type checkers (`if TYPE_CHECKING`) may name its owner."""
    names = {
        ".".join(m.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): m for m in MODULES
    }
    graph = {
        name: {
            other
            for node in tree_of(module).body
            for other in imported(node)
            if other in names and other != name
        }
        for name, module in names.items()
    }
    TopologicalSorter(graph).prepare()  # raises CycleError, which tells the circle


@pytest.mark.parametrize("module", [m for m in MODULES if part_of(m) in SANS_IO], ids=name_of)
def test_values_and_engines_do_no_io(module: Path) -> None:
    assert not {name.split(".")[0] for name in imports(module)} & IO
    assert not re.search(r"\btime\.(time|monotonic|sleep)\b", module.read_text(encoding="utf-8"))


def docstrings(module: Path) -> Iterator[str]:
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""


def cited(text: str) -> set[str]:
    """The numbers in "RFC 5321", "RFC 3501 and 9051" (the first only) and "RFC 5321 §4"."""
    return set(re.findall(r"\bRFC[ -]?(\d{3,5})\b", text))


def test_every_rfc_that_is_cited_stands_in_the_table() -> None:
    table = (ROOT / "docs/rfc.md").read_text(encoding="utf-8")
    rows = set(re.findall(r"^\| \[?(?:RFC )?(\d{3,5})\b", table, re.MULTILINE))
    missing = {
        f"{name_of(module)}: RFC {number}"
        for module in MODULES
        for text in docstrings(module)
        for number in cited(text) - rows
    }
    assert not missing


def test_the_modules_named_in_the_table_exist() -> None:
    table = (ROOT / "docs/rfc.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:twisted_mta/)?[a-z0-9_]+(?:/[a-z0-9_]+)+)(?:\.py)?`", table)
    assert named
    gone = [
        name
        for name in named
        if not any((base / name).is_dir() or (base / f"{name}.py").exists() for base in (ROOT, PACKAGE))
    ]
    assert not gone


def test_what_only_others_use_is_still_there() -> None:
    """The list of names that the scan of dead code leaves out."""
    listed = re.findall(r"^_\.(\w+)$", (ROOT / "tests/used_by_others.py").read_text("utf-8"), re.MULTILINE)
    words = {word for module in MODULES for word in re.findall(r"\w+", module.read_text(encoding="utf-8"))}
    assert listed and not set(listed) - words


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_a_module_has_a_docstring_and_a_readable_length(module: Path) -> None:
    text = module.read_text(encoding="utf-8")
    if module.name != "__init__.py":
        assert ast.get_docstring(tree_of(module))
    assert text.count("\n") <= 500
