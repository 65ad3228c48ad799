"""Tables as text, which name images and say something of each: CSV with or without a header, tabs, or blanks."""

import csv
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from byol.data.sample import evenly

__all__ = ["LABEL_COLUMNS", "PATH_COLUMNS", "column_of", "comma_or_other", "is_header", "is_no_label", "split_rows"]

PATH_COLUMNS = ("path", "file", "filename", "image")
LABEL_COLUMNS = ("label", "class")

OTHER_PATH_COLUMNS = (
    *("file_name", "filepath", "file_path", "image_path", "image_file", "image_name", "image_id", "img", "name", "id"),
)
OTHER_LABEL_COLUMNS = ("labels", "class_name", "category", "target", "class_id", "label_id", "cls", "y")
"""Further names that columns often have, taken where none of the first ones is there."""

NO_LABEL = ("", "-1", "nan")
"""Labels that say there is none, in lower case: as in Parquet."""

DELIMITERS = (",", ";")
LINES_TRIED = 64


def is_no_label(value: str) -> bool:
    """Whether a label says that there is none."""
    return value.strip().lower() in NO_LABEL


def column_of(head: Sequence[str], known: Sequence[str]) -> int | None:
    """The place of the first of some names in a header, whatever the case; or None.

    `PATH_COLUMNS` and `LABEL_COLUMNS` stand for the other usual names too.
    """
    names = [name.strip().lower() for name in head]
    others = {PATH_COLUMNS: OTHER_PATH_COLUMNS, LABEL_COLUMNS: OTHER_LABEL_COLUMNS}.get(tuple(known), ())
    return next((names.index(name) for name in (*known, *others) if name in names), None)


def is_header(row: Sequence[str], is_file: Callable[[str], bool]) -> bool:
    """Whether a first row names columns: one of them has a usual name, and none of them is a file."""
    return column_of(row, PATH_COLUMNS) is not None and not any(map(is_file, row))


def comma_or_other(line: str) -> str:
    """What separates the columns that a header names: comma, semicolon or tab."""
    return max((",", ";", "\t"), key=line.count)


def split_rows(lines: Sequence[str], is_file: Callable[[str], bool]) -> list[list[str]]:
    """The fields of lines that name files.

    A tab, a comma, a semicolon, or the last blank of a line ends a path, or a line is nothing but one: whichever gives
    the most files that exist, and a tab where none does. A path may be in quotes.
    """
    ways: tuple[Callable[[Iterable[str]], list[list[str]]], ...] = (
        _by_tabs,
        _whole,
        *(partial(_by_delimiter, delimiter=sign) for sign in DELIMITERS),
        _by_last_blank,
    )
    sample = [lines[index] for index in evenly(len(lines), LINES_TRIED)]

    def found(way: Callable[[Iterable[str]], list[list[str]]]) -> int:
        rows = way(sample)
        places = [column_of(rows[0], PATH_COLUMNS) or 0] if rows and is_header(rows[0], is_file) else [0]
        return sum(len(row) > places[0] and is_file(row[places[0]].strip()) for row in rows)

    best = max(ways, key=found)  # the first of equals
    return [[field.strip() for field in row] for row in best(lines)]


def _by_tabs(lines: Iterable[str]) -> list[list[str]]:
    return [[_unquoted(field) for field in line.split("\t")] for line in lines]


def _by_delimiter(lines: Iterable[str], delimiter: str) -> list[list[str]]:
    """Line by line, so that a quote without its other half ends with its line."""
    return [next(csv.reader([line], delimiter=delimiter), [line]) for line in lines]


def _whole(lines: Iterable[str]) -> list[list[str]]:
    return [[_unquoted(line)] for line in lines]


def _by_last_blank(lines: Iterable[str]) -> list[list[str]]:
    return [[_unquoted(field) for field in line.rsplit(None, 1)] for line in lines]


def _unquoted(field: str) -> str:
    field = field.strip()
    return field[1:-1] if len(field) > 2 and field[0] == field[-1] and field[0] in "\"'" else field
