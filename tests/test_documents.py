"""What the documents name is there: files, what they link to, the names of the code, the targets of make."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = [
    document
    for document in sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
    if document.name != "CHANGELOG.md"  # what it tells of may be gone since
]
FOR_DEVELOPERS = [
    ROOT / "CONTRIBUTING.md",
    *(ROOT / "docs" / name for name in ("architecture.md", "flow.md")),
]


def name_of(document: Path) -> str:
    return document.name


@pytest.fixture(scope="module")
def modules() -> list[str]:
    """The paths of all Python files, with a slash in front."""
    tops = ("twisted_mta", "twisted", "tests", "benchmarks")
    return [f"/{path.relative_to(ROOT)}" for top in tops for path in (ROOT / top).rglob("*.py")]


@pytest.fixture(scope="module")
def words() -> set[str]:
    """Every word in the code of the package and the tests."""
    sources = [path for top in ("twisted_mta", "tests") for path in (ROOT / top).rglob("*.py")]
    return {word for source in sources for word in re.findall(r"\w+", source.read_text(encoding="utf-8"))}


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_the_modules_that_are_named_exist(document: Path, modules: list[str]) -> None:
    named = set(re.findall(r"(?<![\w/.*-])[\w*-][\w/*-]*\.py\b", document.read_text(encoding="utf-8")))
    gone = [name for name in named if not any(fnmatch(module, f"*/{name}") for module in modules)]
    assert not gone


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_what_is_linked_to_exists(document: Path) -> None:
    linked = re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", document.read_text(encoding="utf-8"))
    assert not [target for target in linked if not (document.parent / target).exists()]


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_the_targets_of_make_exist(document: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"`make ([a-z]+)", document.read_text(encoding="utf-8")))
    assert named <= targets


@pytest.mark.parametrize("document", FOR_DEVELOPERS, ids=name_of)
def test_the_names_of_the_code_exist(document: Path, words: set[str]) -> None:
    """`MailParameters.junk`, `shared_questions`, `COMMANDS`: what cannot be an ordinary word."""
    spans = re.findall(r"`([A-Za-z_][\w.]*)`", document.read_text(encoding="utf-8"))
    assert not [span for span in spans if re.search("[A-Z_]", span) and not words >= set(span.split("."))]
