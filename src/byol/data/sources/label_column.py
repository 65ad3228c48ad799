"""The column of labels of Parquet files: which one it is, and what its values say."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import pyarrow as pa

from byol.data.sources.class_names import class_order, named_labels, whole_numbers
from byol.errors import UserError

__all__ = ["LABEL_NAMES", "Column", "label_columns", "may_be_fractions", "read_labels", "stored_values"]

# Common names of the column. The first one that is found is taken.
LABEL_NAMES = ("label", "labels", "class", "target", "category", "fine_label", "class_id", "label_id", "cls", "y")

NO_LABEL = -1
"""What Hugging Face writes for no label (`datasets.ClassLabel`), as do empty values and NaN here."""

Value = int | str | None


@dataclass(frozen=True)
class Column:
    """The labels of one file."""

    file: str
    values: Sequence[object]
    """As stored: whole numbers, floats, booleans, strings, or None."""
    names: list[str] | None
    """The names of 0, 1, ... that the file itself gives."""


@dataclass(frozen=True)
class ColumnLabels:
    """What a column of labels says of all images."""

    labels: list[int] | None
    """-1 where there is none; None where no image has one, or the values are no labels."""
    classes: list[str] | None
    remark: str = ""
    """Why there are no labels, if the values are why."""


def label_columns(schema: pa.Schema, declared: Sequence[str], image: str) -> list[str]:
    """Columns that may be labels, the likeliest first: what Hugging Face describes as such, then known names."""
    kinds: dict[str, pa.DataType] = {field.name: field.type for field in schema if field.name != image}
    called = [name for known in LABEL_NAMES for name in kinds if name.lower() == known]
    known = [*[name for name in called if name in declared], *[name for name in kinds if name in declared], *called]
    return [name for name in dict.fromkeys(known) if _may_be_label(kinds[name])]


def _may_be_label(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    number = pa.types.is_integer(kind) or pa.types.is_boolean(kind) or may_be_fractions(kind)
    return bool(number or pa.types.is_string(kind) or pa.types.is_large_string(kind))


def may_be_fractions(kind: pa.DataType) -> bool:
    """Whether values of a type may be numbers that are not whole."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def stored_values(column: pa.ChunkedArray) -> list[object]:
    """The values of a column."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    values: list[object] = column.to_pylist()
    return values


def read_labels(name: str, columns: Sequence[Column]) -> ColumnLabels:
    """The labels of all files of a data set, joined by what each file calls its classes.

    Whole floats and booleans count as whole numbers. None, NaN, empty strings and -1 are no label.

    Args:
        name: of the column, for messages.
        columns: the labels of each file.

    Raises:
        UserError: some files name the classes, others number them, and the names spell no numbers.
    """
    plain: list[list[Value]] = []
    for column in columns:
        values = [_plain(value) for value in column.values]
        strange = next((value for value in values if isinstance(value, float)), None)
        if strange is not None:
            remark = f"the column {name!r} has numbers that are not whole, such as {strange:g}, so it is no label"
            return ColumnLabels(None, None, remark)
        plain.append([value for value in values if not isinstance(value, float)])
    if all(value is None for values in plain for value in values):
        return ColumnLabels(None, None, f"the column {name!r} gives no image a label")
    names = [_names_for(column, values) for column, values in zip(columns, plain, strict=True)]
    said = [known for known, values in zip(names, plain, strict=True) if any(value is not None for value in values)]
    present = [value for values in plain for value in values if value is not None]
    numbers = [value for value in present if isinstance(value, int)]
    if len(numbers) == len(present) and all(known == said[0] for known in said):
        if said[0] is not None:
            return ColumnLabels([_or_none(value) for values in plain for value in values], said[0])
        if min(numbers) >= 0:
            return ColumnLabels([_or_none(value) for values in plain for value in values], None)
        order = sorted(set(numbers))  # below -1: numbers of their own, since -1 is no label
        places = {number: place for place, number in enumerate(order)}
        labels = [NO_LABEL if not isinstance(value, int) else places[value] for values in plain for value in values]
        return ColumnLabels(labels, [str(number) for number in order])
    return _by_name(columns, plain, names)


def _plain(value: object) -> Value | float:
    """A value as a whole number, a string or None; a float that is not whole as it is."""
    if value is None or value == "" or value == NO_LABEL:
        return None
    if isinstance(value, bool | int):
        return int(value)
    if isinstance(value, float | Decimal):
        if value != value:  # NaN
            return None
        return int(value) if value == value // 1 else float(value)
    return str(value)


def _or_none(value: Value) -> int:
    return value if isinstance(value, int) else NO_LABEL


def _names_for(column: Column, values: Sequence[Value]) -> list[str] | None:
    """The names that a file gives, if they cover its numbers."""
    numbers = [value for value in values if isinstance(value, int)]
    covers = column.names is not None and numbers and 0 <= min(numbers) <= max(numbers) < len(column.names)
    return list(map(str, column.names or ())) if covers else None


def _by_name(
    columns: Sequence[Column], values: Sequence[Sequence[Value]], names: Sequence[list[str] | None]
) -> ColumnLabels:
    """The labels of files that have strings, or each its own names."""
    called: list[str | None] = []
    bare: str | None = None
    for column, of_file, known in zip(columns, values, names, strict=True):
        for value in of_file:
            if isinstance(value, int) and known is None:
                bare = bare or column.file
            named = known[value] if isinstance(value, int) and known is not None else value
            called.append(None if named is None else str(named))
    order = class_order(name for name in called if name is not None)
    strange = next((name for name in order if not name.isdecimal()), None)
    if bare is not None and strange is not None:
        raise UserError(
            f"{bare!r} numbers its classes and other files of the same data name them, such as {strange!r}, so nobody "
            "knows which is which; give files that all have names, or all the same numbers."
        )
    values_of = whole_numbers(order) if bare is not None else None
    if values_of is not None:
        number = dict(zip(order, values_of, strict=True))
        return ColumnLabels([NO_LABEL if name is None else number[name] for name in called], None)
    return ColumnLabels(*named_labels(called))
