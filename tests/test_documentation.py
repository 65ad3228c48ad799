"""The documentation lists the whole public API, and every page has its place in the navigation."""

import re
from pathlib import Path

import byol

ROOT = Path(__file__).parent.parent


def test_the_reference_lists_exactly_the_public_names() -> None:
    text = (ROOT / "docs/reference/api.md").read_text()
    assert sorted(re.findall(r"^::: byol\.(\w+)$", text, re.MULTILINE)) == sorted(byol.__all__)


def test_every_page_is_in_the_navigation_once() -> None:
    _, _, navigation = (ROOT / "mkdocs.yml").read_text().partition("\nnav:\n")
    listed = re.findall(r"[\w/-]+\.md", navigation)
    pages = [path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")]
    assert sorted(listed) == sorted(pages)


def test_every_file_that_a_document_names_exists() -> None:
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    named = re.compile(r"(?<![\w./-])(?:src/byol|tests|benchmarks|docs|examples)/[\w./-]+\.(?:py|md|json|png)\b")
    missing = [
        f"{document.relative_to(ROOT)}: {path}"
        for document in documents
        for path in named.findall(document.read_text())
        if not (ROOT / path).exists()
    ]
    assert not missing, "\n".join(missing)
