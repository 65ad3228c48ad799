"""From the names of classes to numbers, in one order everywhere."""

from collections.abc import Iterable, Sequence

__all__ = ["class_order", "named_labels", "whole_numbers"]


def class_order(names: Iterable[str]) -> list[str]:
    """Names without duplicates, sorted; names that are all decimal numbers are sorted as numbers."""
    present = set(names)
    numbers = all(name.isdecimal() for name in present)
    return sorted(present, key=lambda name: (int(name), name)) if numbers else sorted(present)


def named_labels(names: Sequence[str | None]) -> tuple[list[int], list[str]]:
    """A number for each name, -1 where it is None, and the classes in `class_order`."""
    classes = class_order(name for name in names if name is not None)
    numbers: dict[str | None, int] = {name: number for number, name in enumerate(classes)}
    return [numbers[name] if name is not None else -1 for name in names], classes


def whole_numbers(names: Sequence[str]) -> list[int] | None:
    """The numbers that names spell, or None where one is no decimal number, or two are the same number."""
    if not all(name.isdecimal() for name in names):
        return None
    values = [int(name) for name in names]
    return values if len(set(values)) == len(values) else None
