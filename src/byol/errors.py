"""The errors that a user is meant to read; whether memory is full; the nearest right name for a wrong one."""

import difflib
from collections.abc import Iterable

__all__ = ["BadImage", "UserError", "memory_is_full", "nearest", "visible"]


class UserError(ValueError):
    """Something the user gave cannot be used.

    The message is one sentence: what was given, what is allowed, what to do next. The command line prints it
    without a traceback and exits with code 2.
    """


class BadImage(ValueError):  # noqa: N818  (it names what is bad, as UserError does)
    """One image cannot be read; the message is a short reason. A run skips such an image, counts it and lists it."""


class UnreachableImage(BadImage):
    """The system cannot deliver an image's file: it is gone, or its disk is. The image itself may be fine."""


def memory_is_full(error: BaseException) -> bool:
    """Whether an error says that a GPU's memory or the machine's is used up.

    By name and words, so that nobody needs PyTorch to ask; on a processor and on Apple's GPUs it has no class for it.
    What happened while an error was dealt with counts as that error, as where a recording that it broke off is ended.
    """
    if error.__context__ is not None and memory_is_full(error.__context__):
        return True
    words = (
        *("DefaultCPUAllocator: can't allocate memory", "MPS backend out of memory", "CUDA error: out of memory"),
        *("CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED"),
    )
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or any(text in str(error) for text in words)


CONTROLS = {number: f"\\x{number:02x}" for number in (*range(32), *range(127, 160)) if chr(number) not in "\n\t"}


def visible(text: str) -> str:
    """A text with control characters as escapes: the name of a file must not command a terminal."""
    return text.translate(CONTROLS)


def nearest(word: str, options: Iterable[str]) -> str:
    """` Did you mean 'x'?` with the option most like `word`, or an empty string where none is close.

    Upper and lower case count as the same. The leading blank lets the answer be appended to a sentence.
    """
    by_lower = {option.lower(): option for option in options}
    # 0.6 is difflib's own cutoff: one or two wrong letters pass, another word does not.
    close = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return f" Did you mean {by_lower[close[0]]!r}?" if close else ""
