"""The parts of a data set, such as train and test, of which pretraining should see one."""

from collections.abc import Iterable

from byol.errors import UserError

__all__ = ["PARTS", "several_parts"]

PARTS = ("train", "test", "validation", "valid", "val", "dev", "unsupervised", "unlabeled", "extra")
"""Names of parts, or the beginnings of their names, in the order in which an error message suggests them."""


def several_parts(folder: object, parts: Iterable[str], example: object) -> UserError:
    """The error about a folder that holds more than one part of a data set."""
    return UserError(
        f"the folder {str(folder)!r} holds several parts ({', '.join(parts)}); give one of them, for example "
        f"{str(example)!r}."
    )
