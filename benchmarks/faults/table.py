"""The table of the campaign: faults tried, survived and lost, from the lines that were written."""

from collections.abc import Iterable
from pathlib import Path

from faults.trial import Line, read_lines

LINES = "faults.jsonl"
PEERS = "peers"
"""The part whose lines tell what other programs do; they have a table of their own."""


def table(part: str, folder: Path) -> str:
    """The rows of a part, `all` for every part of our own, and the commits they are of.

    Raises:
        FileNotFoundError: nothing of it was tried yet.
    """
    lines = [line for line in read_lines(folder / LINES) if part in ("all", line["part"])]
    lines = [line for line in lines if (line["part"] == PEERS) == (part == PEERS)]
    if not lines:
        raise FileNotFoundError(folder / LINES)
    if part == PEERS:
        rows = ["| fault | program | what it does |", "| --- | --- | --- |"]
        rows += [f"| {line['fault']} | {line['case']} | {_plain(line['seen'])} |" for line in lines]
    else:
        rows = ["| part | fault | tried | survived | lost |", "| --- | --- | ---: | ---: | ---: |"]
        rows += [_row(some) for some in _by_fault(lines)]
        held = sum(line["held"] for line in lines)
        rows.append(f"| all | | {len(lines)} | {held} | {len(lines) - held} |")
    commits = ", ".join(dict.fromkeys(line["commit"] for line in lines))
    return "\n" + "\n".join(rows) + f"\n\n*commit {commits}; `python benchmarks/faults/run.py`*\n\n"


def _by_fault(lines: Iterable[Line]) -> list[list[Line]]:
    found: dict[tuple[str, str], list[Line]] = {}
    for line in lines:
        found.setdefault((line["part"], line["fault"]), []).append(line)
    parts = list(dict.fromkeys(part for part, _ in found))
    return sorted(found.values(), key=lambda some: parts.index(some[0]["part"]))


def _row(lines: list[Line]) -> str:
    held = sum(line["held"] for line in lines)
    return f"| {lines[0]['part']} | {lines[0]['fault']} | {len(lines)} | {held} | {len(lines) - held} |"


def _plain(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
