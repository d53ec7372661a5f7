"""The pages of documentation, in the pieces that tests hold against the code."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"

#: Pages outside docs/ whose links are looked at too.
OTHERS = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "examples").rglob("README.md"))),
)


def pages() -> list[Path]:
    """The pages of docs/ and below."""
    return sorted(DOCS.rglob("*.md"))


def text_of(name: str) -> str:
    """A page of docs/."""
    return (DOCS / name).read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def example(text: str, name: str) -> str:
    """The fenced block below `<!-- example: NAME -->`."""
    found = re.search(rf"<!-- example: {name} -->\n```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert found, f"no example {name}"
    return found[1]


def commands(program: str) -> list[tuple[str, str]]:
    """Each console line of docs/ that calls a program: (page, line)."""
    return [
        (page.name, line.removeprefix("$ "))
        for page in pages()
        for block in blocks(page.read_text(encoding="utf-8"), "console")
        for line in block.splitlines()
        if line.removeprefix("$ ").startswith(f"{program} ")
    ]


def table(text: str, first: str) -> list[list[str]]:
    """The rows of the table whose first column is headed `first`."""
    rows: list[list[str]] = []
    inside = False
    for line in text.splitlines():
        if not line.startswith("|"):
            inside = False
            continue
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if inside and not set(line) <= set("|-: "):
            rows.append(cells)
        inside = inside or cells[0] == first
    return rows
