"""Images that a text file names, with or without labels."""

from collections.abc import Callable
from pathlib import Path

from byol.data.formats.ome_zarr import is_store
from byol.data.sample import evenly
from byol.data.sources.class_names import named_labels
from byol.data.sources.files import FileSource
from byol.data.sources.table_text import LABEL_COLUMNS, PATH_COLUMNS, column_of, is_header, is_no_label, split_rows
from byol.errors import UserError

__all__ = ["ListSource"]


class ListSource(FileSource):
    """A text file that names one image per line, relative to the file's own folder.

    A label may follow after a tab, a comma, a semicolon or a blank: on every line, or on none. A first line that names
    the columns (`path,label`) says which of them count; without it they are the first two. Blank lines are skipped, and
    lines that begin with `#` unless they name a file. Empty labels and -1 are none.

    Raises:
        UserError: the file is no UTF-8 text, names nothing, or most of a sample of its paths do not exist.
    """

    def __init__(self, file: str | Path, channels: int | None = None) -> None:
        root = Path(file).parent

        def is_file(path: str) -> bool:
            try:
                return (root / path).is_file() or is_store(root / path)
            except (OSError, ValueError):  # too long for a name, or a null byte: no file
                return False

        lines, note = _list_lines(Path(file), is_file)
        paths = [path for path, _ in lines]
        sample = [paths[index] for index in evenly(len(paths), 64)]
        missing = [path for path in sample if not is_file(path)]
        if len(missing) * 2 > len(sample):
            raise UserError(
                f"the list {str(file)!r} names {missing[0][:60]!r}, which is not there "
                f"({len(missing)} of {len(sample)} looked at are not); "
                f"give a text file with one image path per line, relative to {str(root)!r}, and after a tab or a comma "
                "its label, if any."
            )
        told = [label for _, label in lines if label is not None]
        named = [None if label is None or is_no_label(label) else label for _, label in lines]
        labels, classes = named_labels(named) if any(name is not None for name in named) else (None, None)
        super().__init__(str(file), root, paths, labels, classes, channels)
        self.labels_from = "the list" if labels else ""
        self.remark = "no line of the list gives a label" if told and not labels else ""
        self.notes = (note,) if note else ()


def _list_lines(file: Path, is_file: Callable[[str], bool]) -> tuple[list[tuple[str, str | None]], str]:
    """(path, label or None) of every line that names an image, and which columns are passed over, in words."""
    wanted = "give a folder, Parquet files, or a text list with one image path per line"
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{str(file)!r} is neither an image list nor Parquet; {wanted}.") from None
    except OSError as error:
        raise UserError(f"{str(file)!r} cannot be read ({error.strerror}); {wanted}.") from error
    numbered = [(number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    numbered = [(number, line) for number, line in numbered if not _is_comment(line, is_file)]
    rows = split_rows([line for _, line in numbered], is_file)
    assert len(rows) == len(numbered), "a row per line"
    header = rows[0] if rows and is_header(rows[0], is_file) else None
    if header is not None:
        numbered, rows = numbered[1:], rows[1:]
    if not rows:
        raise UserError(f"the list {str(file)!r} names no image; write one path per line.")
    if header is not None:
        at, of = column_of(header, PATH_COLUMNS) or 0, column_of(header, LABEL_COLUMNS)
        used = {at} if of is None else {at, of}
        others = [name for place, name in enumerate(header) if place not in used]
        note = f"list: the columns {', '.join(others)[:80]} are not read" if others else ""
        labels = [None if of is None else (row[of] if len(row) > of else "") for row in rows]
        paths = [row[at] if len(row) > at else "" for row in rows]
        return [pair for pair in zip(paths, labels, strict=True) if pair[0]], note
    for (number, _), row in zip(numbered, rows, strict=True):
        if (len(row) > 1) != (len(rows[0]) > 1):
            raise UserError(
                f"line {number} of {str(file)!r} has {'a' if len(row) > 1 else 'no'} label, unlike the lines before; "
                "put a tab and a label on every line, or on none."
            )
    widest = max(len(row) for row in rows)
    note = f"list: a label is in the second column; {widest - 2} more are not read" if widest > 2 else ""
    return [(row[0], row[1] if len(row) > 1 else None) for row in rows], note


def _is_comment(line: str, is_file: Callable[[str], bool]) -> bool:
    return line.lstrip().startswith("#") and not is_file(line.split("\t")[0].strip())
