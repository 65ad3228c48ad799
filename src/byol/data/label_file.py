"""A CSV file that names images, and a label or a group of each."""

import csv
import os
from dataclasses import dataclass
from pathlib import Path

from byol.data.sources.base import Source
from byol.data.sources.files import FileSource
from byol.data.sources.table_text import LABEL_COLUMNS, PATH_COLUMNS, column_of, comma_or_other, is_no_label
from byol.errors import UserError

__all__ = ["GROUP_COLUMNS", "LABEL_COLUMNS", "LabelFile"]

GROUP_COLUMNS = ("group", "patient", "subject", "plate", "slide", "site", "scanner", "batch", "date")


@dataclass(frozen=True)
class LabelFile:
    """What a CSV file says of images.

    Its first line names the columns. Paths are relative to the folder of the images or to that of the file. Images may
    be missing, and so may values.
    """

    path: Path
    rows: dict[str, str]
    """From the path of an image, as it is written, to its value; rows without a value are left out."""

    @classmethod
    def read(cls, file: str | Path, columns: tuple[str, ...]) -> "LabelFile":
        """Read a file.

        Args:
            file: its path.
            columns: the names that the column of values may have, such as `LABEL_COLUMNS`; case does not matter.

        Raises:
            UserError: it cannot be read, lacks a column or any value, or says two things of one image.
        """
        path = Path(file).expanduser()
        wanted = f"a CSV file whose first line is: {PATH_COLUMNS[0]},{columns[0]}"
        try:
            with path.open(encoding="utf-8-sig", newline="") as text:
                first = text.readline()
                text.seek(0)
                lines = list(csv.reader(text, delimiter=comma_or_other(first)))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no CSV text"
            raise UserError(f"{str(file)!r} cannot be read ({reason}); give {wanted}.") from error
        head = [name.strip().lower() for name in lines[0]] if lines else []
        places = [column_of(head, known) for known in (PATH_COLUMNS, columns)]
        at, of = places
        if at is None or of is None:
            lacking = " and ".join(
                f"no column {' or '.join(known)}"
                for known, place in zip((PATH_COLUMNS, columns), places, strict=True)
                if place is None
            )
            raise UserError(f"{str(file)!r} has {lacking} (its first line is {','.join(head)[:80]!r}); give {wanted}.")
        rows: dict[str, str] = {}
        for number, line in enumerate(lines[1:], start=2):
            if len(line) <= max(at, of) or not line[at].strip() or not line[of].strip():
                continue
            name, value = line[at].strip(), line[of].strip()
            if columns == LABEL_COLUMNS and is_no_label(value):
                continue
            if rows.setdefault(name, value) != value:
                raise UserError(
                    f"line {number} of {str(file)!r} says {value!r} of {name!r}, and a line before {rows[name]!r}; "
                    "keep one of them."
                )
        if not rows:
            raise UserError(f"{str(file)!r} gives no image a {columns[0]}; give {wanted}.")
        return cls(path, rows)

    def values(self, source: Source) -> list[str | None]:
        """The value of each image of a source, or None where there is none.

        Raises:
            UserError: the images are no files, or the file says two things of one of them.
        """
        if not isinstance(source, FileSource):
            raise UserError(
                f"{str(self.path)!r} names image files, but {source.name!r} has none: its labels belong to its images; "
                "give a folder or a text list."
            )
        numbers: dict[str, list[int]] = {}  # a text list may name an image more than once
        for index in range(len(source)):
            numbers.setdefault(os.path.normpath(source.file(index)), []).append(index)
        values: list[str | None] = [None] * len(source)
        roots = (source.root, os.path.abspath(self.path.parent))  # noqa: PTH100  (as sources name files)
        for name, value in self.rows.items():
            places = (os.path.normpath(os.path.join(root, name)) for root in roots)  # noqa: PTH118
            for index in next((numbers[place] for place in places if place in numbers), []):
                if values[index] not in (None, value):
                    raise UserError(
                        f"{str(self.path)!r} says both {values[index]!r} and {value!r} of {source.where(index)}; keep "
                        "one."
                    )
                values[index] = value
        return values

    def unknown(self, source: Source) -> UserError:
        """The error of a file that names no image of a source."""
        example = os.path.relpath(source.file(0), source.root) if isinstance(source, FileSource) else source.where(0)
        return UserError(
            f"None of the {len(self.rows)} paths in {str(self.path)!r}, such as {next(iter(self.rows))!r}, is an image "
            f"of {source.name!r}; write them relative to it, such as {example!r}."
        )
