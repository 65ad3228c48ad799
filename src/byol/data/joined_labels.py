"""Labels of two parts of a data set, joined by what the classes are called and never by their place in a list."""

from collections.abc import Sequence

from byol.data.sources.base import Source
from byol.data.sources.class_names import whole_numbers
from byol.errors import UserError

__all__ = ["labels_in_numbers_of", "same_names"]

NAMES_SHOWN = 2


def same_names(first: Sequence[str], other: Sequence[str]) -> bool:
    """Whether two lists of classes have the same names, numbers by their value, in any order."""
    mine, others = whole_numbers(first), whole_numbers(other)
    return set(first) == set(other) if mine is None or others is None else set(mine) == set(others)


def labels_in_numbers_of(first: Source, other: Source) -> list[int]:
    """The labels of `other`, each class with the number that it has in `first`; -1 stays where there is none.

    Names are joined by name. Bare numbers and names that spell numbers (folders `0` to `11`) are joined by number.

    Raises:
        UserError: one part has names that spell no numbers and the other has bare numbers, so nobody knows which is
            which; or a class of `other` is none of `first`.
    """
    assert first.labels is not None, "the caller asks for labels first"
    assert other.labels is not None, "the caller asks for labels first"
    if first.classes == other.classes:
        return other.labels
    mine, others = _keys(first, other), _keys(other, first)
    if mine is None and others is None:  # both are bare numbers in the end
        return other.labels
    places = None if mine is None else {key: number for number, key in enumerate(mine)}
    renumbered: dict[int, int] = {-1: -1}
    for label in set(other.labels) - {-1}:
        key = label if others is None else others[label]
        number = key if places is None else places.get(key)
        if not isinstance(number, int):
            raise UserError(
                f"The class {str(key)!r} of {other.name} is none of {first.name}, which has {_some(first)}; give parts "
                "of one data set, labeled alike."
            )
        renumbered[label] = number
    return [renumbered[label] for label in other.labels]


def _keys(part: Source, beside: Source) -> Sequence[str | int] | None:
    """What joins the classes of a part to those of the one beside it, by label; None: the labels themselves.

    Raises:
        UserError: only one of the two has names, and they spell no numbers.
    """
    if part.classes is None:
        return None
    if beside.classes is not None and set(part.classes) == set(beside.classes):
        return part.classes
    values = whole_numbers(part.classes)
    if beside.classes is not None:
        return part.classes if values is None or whole_numbers(beside.classes) is None else values
    if values is None:
        raise UserError(
            f"The classes of {part.name} have names ({_some(part)}) and those of {beside.name} are numbers "
            f"({_some(beside)}), which could mean any of them; give both parts names, such as a folder per class or a "
            "column of names, or both the same numbers."
        )
    return values


def _some(part: Source) -> str:
    """The first few classes of a part."""
    names = part.classes or [str(label) for label in sorted(set(part.labels or ()) - {-1})]
    return ", ".join(map(repr, names[:NAMES_SHOWN])) + (", ..." if len(names) > NAMES_SHOWN else "")
