"""From the names of classes to numbers."""

from collections.abc import Sequence

__all__ = ["named_labels"]


def named_labels(names: Sequence[str | None]) -> tuple[list[int], list[str]]:
    """A number for each name, and the sorted classes; names that are all decimal numbers are sorted as numbers."""
    present = {str(name) for name in names}
    classes = sorted(present, key=int) if all(name.isdecimal() for name in present) else sorted(present)
    numbers = {name: number for number, name in enumerate(classes)}
    return [numbers[str(name)] for name in names], classes
