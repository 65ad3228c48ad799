"""Folders that Hugging Face's `Dataset.save_to_disk` wrote: Arrow files, which stay on the disk."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa

from byol.data.sources.held_images import HeldImages
from byol.data.sources.parquet import ParquetSource
from byol.data.sources.parts import SeveralParts, part_of
from byol.errors import UserError

__all__ = ["ArrowSource", "arrow_files"]

PARTS = "dataset_dict.json"
"""Names the sub-folders of a `DatasetDict`."""
STATE = "state.json"
"""Names the files of a `Dataset`."""
FILE_MARK = b"ARROW1"
"""Of Arrow's file format; `save_to_disk` writes its stream format."""


class ArrowSource(ParquetSource):
    """One or more Arrow files, with columns as in Parquet.

    They are mapped into memory: images are read from the disk when they are asked for.

    Raises:
        UserError: a file is not Arrow, has no rows or no images.
    """

    def _schema(self, file: Path) -> pa.Schema:
        return _whole(file).schema

    def _table(self, file: Path, columns: list[str]) -> pa.Table:
        return _whole(file).select(columns)

    def _stored_images(self, image: str) -> HeldImages:
        """All of them: nothing is read into memory until it is asked for."""
        return HeldImages([self._table(file, [image]).column(image) for file in self._files])


def arrow_files(folder: Path) -> list[Path]:
    """The Arrow files of a data set that was saved to a folder, in their order; none where it holds another thing.

    Raises:
        UserError: the folder holds several parts, of which one should be given, or lacks files that it names.
    """
    if (folder / PARTS).is_file():
        return _one_part(folder)
    if (folder / STATE).is_file():
        named = [folder / str(entry["filename"]) for entry in _json(folder / STATE).get("_data_files", [])]
        missing = [file.name for file in named if not file.is_file()]
        if missing:
            raise UserError(f"the folder {str(folder)!r} lacks {missing[0]!r}, which its {STATE} names; copy it again.")
        return named
    files = sorted(file for file in folder.glob("*.arrow") if not file.name.startswith((".", "cache-")))
    words = {word: part for file in files for word in file.stem.split("-") if (part := part_of(word)) is not None}
    if len(set(words.values())) > 1:
        raise SeveralParts(folder, [(part, str(folder / f"*-{word}*.arrow")) for word, part in words.items()])
    return files


def _one_part(folder: Path) -> list[Path]:
    names = [str(name) for name in _json(folder / PARTS).get("splits", [])]
    if len(names) == 1:
        return arrow_files(folder / names[0])
    known = [(part, str(folder / name)) for name in names if (part := part_of(name)) is not None]
    if len(known) > 1:
        raise SeveralParts(folder, known)
    listed = " or ".join(repr(str(folder / name)) for name in names) or "a folder with data"
    raise UserError(f"the folder {str(folder)!r} holds several parts ({', '.join(names)}); give {listed}.")


def _json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{str(file)!r} cannot be read ({error}); save the data set again.") from error
    return content if isinstance(content, dict) else {}


def _whole(file: Path) -> pa.Table:
    """All of a file, mapped into memory."""
    try:
        mapped = pa.memory_map(str(file))
        plain = mapped.read_at(len(FILE_MARK), 0) == FILE_MARK
        table = pa.ipc.open_file(mapped).read_all() if plain else pa.ipc.open_stream(mapped).read_all()
        "".join(table.column_names)  # in a damaged file the names may be no text, which asking for them raises
        return table
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(
            f"{str(file)!r} cannot be read as Arrow ({reason}); it may be cut short: save it again."
        ) from error
