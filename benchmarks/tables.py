"""Tables in the documents, made from the results files, so that no figure is typed by hand.

    python benchmarks/tables.py            # write them
    python benchmarks/tables.py --check    # exit 1 where a document says something else

A table stands between `<!-- results:NAME -->` and `<!-- /results:NAME -->`, where NAME is a file of
`benchmarks/results/` without its `.json`, or NAME/GROUP for the rows of one group; `goals` are all figures that have a
goal, `headlines` those of the README. `<!-- grid:NAME -->` sets rows whose group is `one: other` as a grid, ones down
and others across. `<!-- faults:PART -->` counts what the fault campaign tried, and
`<!-- system:NAME -->` has a row of `byol paper pretext`. What a command printed stands between
`<!-- said:NAME -->` and `<!-- /said:NAME -->`, from NAME.txt of that folder. What has no results stays as it is.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from faults.table import table as faults_table
from results_file import REPOSITORY, RESULTS
from system_rows import table as system_rows

GOALS_ONLY = "goals"
"""Name of the table of all figures that have a goal."""
WITH_GOALS = (
    *("cifar10-cpu", "cifar10-cpu-simclr", "demo", "throughput", "peers", "startup", "many-files", "shards"),
    "evaluation-speed",
)
HEADLINES_ONLY = "headlines"
"""Name of the table of the few figures that stand in the README."""
HEADLINES = (
    ("cifar10-cpu", "cifar10-cpu", "20-NN accuracy on the test part"),
    ("cifar10-cpu-simclr", "cifar10-cpu-simclr", "20-NN accuracy on the test part"),
    ("demo", "demo", "trained minus untrained, 5 labels each"),
    ("peers", "resnet18-32", "byol / lightly, bf16 + channels_last"),
    ("peers", "narrow-32", "byol / lightly, bf16 + channels_last"),
)
"""File, group and name of each; speed is that of the peer at its best setting."""
DOCUMENTS = (
    "README.md",
    "docs/results.md",
    "docs/start.md",
    "docs/recipes.md",
    "docs/evaluate.md",
    "docs/explore.md",
    "docs/health.md",
    "docs/weights.md",
    "docs/speed.md",
    "docs/paper.md",
    "docs/systems.md",
    "docs/reliability.md",
)
SAID = re.compile(r"(<!-- said:(?P<name>[\w.-]+) -->\n)(?P<body>.*?)(<!-- /said:(?P=name) -->)", re.DOTALL)
MARKED = re.compile(
    r"(<!-- (?P<kind>results|grid|faults|system):(?P<name>[\w./-]+) -->\n)(?P<body>.*?)(<!-- /(?P=kind):(?P=name) -->)",
    re.DOTALL,
)


def render(name: str, folder: Path = RESULTS) -> str:
    """The table of a results file, or of one group of it, and a line that says where it comes from.

    Raises:
        FileNotFoundError, KeyError: there is no such file, or no such group in it.
    """
    rows = _rows(name, folder)
    goals = name != HEADLINES_ONLY and any(row["goal"] is not None for row in rows)
    head = ["what", "measured", "median", "range", "n"] + (["goal"] if goals else [])
    lines = [_line(head), _line(["---", "---", "---:", "---:", "---:"] + (["---:"] if goals else []))]
    for row in rows:
        unit = "" if row["unit"] in ("ratio", "accuracy") else f" {row['unit']}"
        span = f"{_number(row, 'min')} to {_number(row, 'max')}"
        cells = [row["group"], row["name"], _number(row, "median") + unit, span, str(row["n"])]
        lines.append(_line([*cells, *([_goal(row)] if goals else [])]))
    return _with_origins(lines, rows)


def grid(name: str, folder: Path = RESULTS) -> str:
    """The medians of a results file whose groups are `one: other`, and a line that says where they come from.

    Raises:
        FileNotFoundError, KeyError: there is no such file, or no such group in it.
    """
    rows = _rows(name, folder)
    places = [row["group"].split(": ") for row in rows]
    found = {(one, other): _number(row, "median") for (one, other), row in zip(places, rows, strict=True)}
    down, across = (list(dict.fromkeys(names)) for names in zip(*places, strict=True))
    lines = [_line(["", *(f"`{other}`" for other in across)]), _line(["---", *["---:"] * len(across)])]
    lines += [_line([f"`{one}`", *(found.get((one, other), "") for other in across)]) for one in down]
    return _with_origins(lines, rows)


def _with_origins(lines: list[str], rows: list[dict[str, Any]]) -> str:
    return "\n" + "\n".join(lines) + "\n\n" + "\n".join(_origins(rows)) + "\n\n"


def _rows(name: str, folder: Path) -> list[dict[str, Any]]:
    if name == GOALS_ONLY:
        files = [file for file in WITH_GOALS if (folder / f"{file}.json").is_file()]
        rows = [row for file in files for row in _read(file, folder) if row["goal"] is not None]
    elif name == HEADLINES_ONLY:
        rows = [
            row for file, *place in HEADLINES for row in _read(file, folder) if [row["group"], row["name"]] == place
        ]
    else:
        file, _, group = name.partition("/")
        rows = [row for row in _read(file, folder) if group in ("", row["group"])]
    if not rows:
        raise KeyError(name)
    return rows


def _read(file: str, folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((folder / f"{file}.json").read_text())["rows"]
    return rows


def _goal(row: dict[str, Any]) -> str:
    if row["goal"] is None:
        return ""
    goal = f"{100 * row['goal']:g} %" if row["unit"] == "accuracy" else f"{row['goal']:,g}"
    at_most = row.get("at_most", False)  # files of before this was asked do not say
    met = row["median"] <= row["goal"] if at_most else row["median"] >= row["goal"]
    return f"{'at most ' if at_most else ''}{goal} {'met' if met else 'missed'}"


def _number(row: dict[str, Any], key: str) -> str:
    value = row[key]
    if row["unit"] == "accuracy":
        return f"{100 * value:.1f} %"
    if row["unit"] == "ratio":
        return f"{value:.2f}" if value >= 2 else f"{value:.3f}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _origins(rows: list[dict[str, Any]]) -> list[str]:
    """Machine, versions, commit and command, once each."""
    seen: dict[str, None] = {}
    for row in rows:
        m = row["machine"]
        place = m["gpu"] or f"{m['cpu']}, {m['cores']} cores"
        others = "".join(f", {name} {m[name]}" for name in ("lightly", "byol-pytorch") if name in m)
        text = f"{place}; torch {m['torch']}{others}; {m['date']}; commit {row['commit']}; `{row['command']}`"
        seen[f"*{text}*"] = None
    return list(seen)


MAKERS: dict[str, Callable[[str, Path], str]] = {
    "results": render,
    "grid": grid,
    "faults": faults_table,
    "system": lambda name, folder: system_rows(name),
}
"""What makes each kind of table."""


def fill(text: str, folder: Path = RESULTS) -> str:
    """A document with its tables made anew."""

    def made_anew(found: re.Match[str]) -> str:
        try:
            return found[1] + MAKERS[found["kind"]](found["name"], folder) + found[5]
        except (FileNotFoundError, KeyError):
            print(f"no results yet for the table {found['name']!r}; run the benchmark", file=sys.stderr)
            return found[0]

    def said(found: re.Match[str]) -> str:
        path = folder / f"{found['name']}.txt"
        if not path.is_file():
            print(f"no output yet for {found['name']!r}; run the command that says it", file=sys.stderr)
            return found[0]
        return f"{found[1]}\n```text\n{path.read_text().rstrip()}\n```\n\n{found[4]}"

    return SAID.sub(said, MARKED.sub(made_anew, text))


def main(arguments: list[str] | None = None, root: Path = REPOSITORY, folder: Path = RESULTS) -> int:
    """Write or check the documents; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, fail where a table is stale")
    options = parser.parse_args(arguments)
    stale = []
    for name in DOCUMENTS:
        path = root / name
        if not path.is_file():
            continue
        old = path.read_text()
        new = fill(old, folder)
        if new != old and options.check:
            stale.append(name)
        elif new != old:
            path.write_text(new)
            print(f"{name}: tables made anew")
    if stale:
        print(f"Stale tables in {', '.join(stale)}; run: python benchmarks/tables.py", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
