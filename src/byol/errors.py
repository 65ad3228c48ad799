"""The errors that a user is meant to read, and the nearest right name for a wrong one."""

import difflib
from collections.abc import Iterable

__all__ = ["BadImage", "UserError", "nearest"]


class UserError(ValueError):
    """Something the user gave cannot be used.

    The message is one sentence: what was given, what is allowed, what to do next. The command line prints it
    without a traceback and exits with code 2.
    """


class BadImage(ValueError):  # noqa: N818  (it names what is bad, as UserError does)
    """One image cannot be read; the message is a short reason. A run skips such an image, counts it and lists it."""


def nearest(word: str, options: Iterable[str]) -> str:
    """` Did you mean 'x'?` with the option most like `word`, or an empty string where none is close.

    Upper and lower case count as the same. The leading blank lets the answer be appended to a sentence.
    """
    by_lower = {option.lower(): option for option in options}
    # 0.6 is difflib's own cutoff: one or two wrong letters pass, another word does not.
    close = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return f" Did you mean {by_lower[close[0]]!r}?" if close else ""
