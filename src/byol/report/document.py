"""A report as a list of blocks, written as one HTML page that needs no other file, or as Markdown for the docs."""

import base64
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from byol.report.svg import Svg


@dataclass(frozen=True)
class Heading:
    text: str
    level: Literal[2, 3] = 2


@dataclass(frozen=True)
class Paragraph:
    """Text with `**bold**`, `*emphasis*` and `` `code` ``; a backslash makes the next sign literal (see `literal`)."""

    text: str


@dataclass(frozen=True)
class Note:
    """A remark in smaller type: where numbers come from, what was left out."""

    text: str


@dataclass(frozen=True)
class Items:
    """A list with bullets."""

    texts: tuple[str, ...]


@dataclass(frozen=True)
class Grid:
    """A table; the first column is text, the others are aligned to the right."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Figure:
    """A drawing. With a file's name it also stands in the Markdown, as that file beside it."""

    svg: Svg
    caption: str = ""
    file: str = ""


@dataclass(frozen=True)
class Picture:
    """An image, kept inside the page; Markdown leaves it out."""

    content: bytes
    """An encoded image."""
    alt: str
    """What it shows, as plain text."""
    media_type: str = "image/png"


@dataclass(frozen=True)
class Commands:
    """Lines to type, as they are."""

    text: str


Block = Heading | Paragraph | Note | Items | Grid | Figure | Picture | Commands

STYLE = (
    ":root{color-scheme:light dark}"
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em;overflow-wrap:break-word;"
    "color:#222;background:#fff}"
    "@media (prefers-color-scheme:dark){body{color:#ddd;background:#181818}}"
    "h2{margin-top:2.5em}.note,figcaption{font-size:.9em;opacity:.8}"
    ".wide{overflow-x:auto}table{border-collapse:collapse;margin:1em 0}"
    "td,th{padding:.15em .8em;text-align:right;border-bottom:1px solid #8884;font-variant-numeric:tabular-nums}"
    "td:first-child,th:first-child{text-align:left}"
    "code,pre{background:#8882;border-radius:3px}code{padding:0 .2em}pre{padding:.6em 1em;overflow-x:auto}"
    "figure{margin:1.5em 0;overflow-x:auto}img{max-width:100%;image-rendering:pixelated}"
)


def literal(text: str) -> str:
    """Text from outside, such as a path or an error message, so that no sign in it is read as markup."""
    return re.sub(r"([\\`*<>])", r"\\\1", text)


def page(title: str, blocks: Sequence[Block], reload_seconds: int | None = None) -> str:
    """The blocks as a page: well-formed, with figures and pictures inside and no reference to another file.

    Args:
        title: plain text.
        blocks: from top to bottom.
        reload_seconds: after which a browser loads the page again; None: never.
    """
    again = f'<meta http-equiv="refresh" content="{reload_seconds}"/>' if reload_seconds is not None else ""
    name = html.escape(title)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"/>'
        f'<meta name="viewport" content="width=device-width"/>{again}'
        f"<title>{name}</title><style>{STYLE}</style></head>\n"
        f"<body><h1>{name}</h1>\n" + "\n".join(map(_html, blocks)) + "</body></html>\n"
    )


def _html(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"<h{level}>{_inline(text)}</h{level}>"
        case Paragraph(text):
            return f"<p>{_inline(text)}</p>"
        case Note(text):
            return f'<p class="note">{_inline(text)}</p>'
        case Items(texts):
            return "<ul>" + "".join(f"<li>{_inline(text)}</li>" for text in texts) + "</ul>"
        case Grid(head, rows):
            lines = ["".join(f"<td>{_inline(cell)}</td>" for cell in row) for row in rows]
            body = "".join(f"<tr>{line}</tr>" for line in lines)
            titles = "".join(f"<th>{_inline(cell)}</th>" for cell in head)
            return f'<div class="wide"><table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table></div>'
        case Figure(svg, caption, _):
            words = f"<figcaption>{_inline(caption)}</figcaption>" if caption else ""
            return f"<figure>{svg.inline()}{words}</figure>"
        case Picture(content, alt, media_type):
            data = base64.b64encode(content).decode()
            return f'<figure><img src="data:{media_type};base64,{data}" alt="{html.escape(alt)}"/></figure>'
        case Commands(text):
            return f"<pre><code>{html.escape(text, quote=False)}</code></pre>"


_MARKUP = re.compile(
    r"\\(?P<sign>[!-/:-@\[-`{-~])|`(?P<code>[^`]+)`|\*\*(?P<bold>[^*]+)\*\*|\*(?P<emphasis>[^*\s](?:[^*]*[^*\s])?)\*"
)


def _inline(text: str) -> str:
    """Text with its markup as HTML; everything else is escaped."""
    made, end = [], 0
    for found in _MARKUP.finditer(text):
        made.append(html.escape(text[end : found.start()], quote=False))
        end = found.end()
        if found["sign"]:
            made.append(html.escape(found["sign"], quote=False))
        elif found["code"]:
            made.append(f"<code>{html.escape(found['code'], quote=False)}</code>")
        elif found["bold"]:
            made.append(f"<strong>{_inline(found['bold'])}</strong>")
        else:
            made.append(f"<em>{_inline(found['emphasis'])}</em>")
    return "".join(made) + html.escape(text[end:], quote=False)


def markdown(blocks: Sequence[Block]) -> str:
    """The blocks as Markdown; figures without a file, and pictures, stand in the page only."""
    return "\n\n".join(text for block in blocks if (text := _markdown(block))) + "\n"


def _markdown(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"{'#' * level} {text}"
        case Paragraph(text):
            return text
        case Note(text):
            return f"*{text}*"
        case Items(texts):
            return "\n".join(f"- {text}" for text in texts)
        case Grid(head, rows):
            lines = [head, ("---", *("---:" for _ in head[1:])), *rows]
            return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
        case Figure(svg, caption, file):
            return f"![{caption or svg.title}]({file})" if file else ""
        case Picture():
            return ""
        case Commands(text):
            return f"```sh\n{text}\n```"
