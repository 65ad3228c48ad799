"""A report as blocks, written twice: as Markdown for the documentation, and as one HTML page that stands alone."""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Heading:
    text: str
    level: Literal[2, 3]


@dataclass(frozen=True)
class Paragraph:
    """Text with `**bold**` and `` `code` ``."""

    text: str


@dataclass(frozen=True)
class Items:
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Grid:
    """A table; the first column is text, the others are aligned to the right."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Plot:
    """An SVG; one with a file's name stands in the documentation too, as that file."""

    svg: str
    words: str
    file: str = ""


Block = Heading | Paragraph | Items | Grid | Plot


def markdown(blocks: Sequence[Block]) -> str:
    """The blocks as Markdown; plots without a file are left to the page."""
    parts = []
    for block in blocks:
        if isinstance(block, Heading):
            parts.append(f"{'#' * block.level} {block.text}")
        elif isinstance(block, Paragraph):
            parts.append(block.text)
        elif isinstance(block, Items):
            parts.append("\n".join(f"- {text}" for text in block.texts))
        elif isinstance(block, Grid):
            rows = [block.head, ("---", *("---:" for _ in block.head[1:])), *block.rows]
            parts.append("\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows))
        elif block.file:
            parts.append(f"![{block.words}]({block.file})")
    return "\n\n".join(parts) + "\n"


STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#222}"
    "table{border-collapse:collapse;margin:1em 0}"
    "td,th{padding:.15em .8em;text-align:right;border-bottom:1px solid #eee}"
    "td:first-child,th:first-child{text-align:left}code{background:#f4f4f4;padding:0 .2em}h2{margin-top:2.5em}"
)


def page(title: str, blocks: Sequence[Block]) -> str:
    """The blocks as a page, plots and all."""
    parts = []
    for block in blocks:
        if isinstance(block, Heading):
            parts.append(f"<h{block.level}>{_inline(block.text)}</h{block.level}>")
        elif isinstance(block, Paragraph):
            parts.append(f"<p>{_inline(block.text)}</p>")
        elif isinstance(block, Items):
            parts.append("<ul>" + "".join(f"<li>{_inline(text)}</li>" for text in block.texts) + "</ul>")
        elif isinstance(block, Grid):
            head = "".join(f"<th>{_inline(cell)}</th>" for cell in block.head)
            rows = ("<tr>" + "".join(f"<td>{_inline(cell)}</td>" for cell in row) + "</tr>" for row in block.rows)
            parts.append(f"<table><tr>{head}</tr>{''.join(rows)}</table>")
        else:
            parts.append(f"<figure>{block.svg}</figure>")
    name = html.escape(title)
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'>"
        f"<meta name='viewport' content='width=device-width'><title>{name}</title><style>{STYLE}</style>"
        f"<h1>{name}</h1>{''.join(parts)}</html>\n"
    )


def _inline(text: str) -> str:
    escaped = html.escape(text, quote=False)
    escaped = re.sub(r"`([^`]+)`", r"<code>\1</code>", escaped)
    return re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", escaped)
