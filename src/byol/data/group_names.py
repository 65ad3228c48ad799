"""Whether names of folders look like acquisition groups (patients, plates, sites) rather than classes."""

import re
from collections.abc import Sequence

MOST = 0.8
"""Share of the names that must look alike; there may be a folder of controls beside them."""

WORDS = (
    *("plate", "well", "site", "slide", "scanner", "patient", "subject", "batch", "case", "run", "date"),
    *("donor", "animal", "center", "hospital", "camera", "session", "experiment", "replicate", "day", "sub"),
)
NAMED = re.compile(rf"(.*[^a-z])?({'|'.join(WORDS)})s?[-_ .#]*(\d+[a-z]?|[a-z]\d+|[a-z])", re.IGNORECASE)
"""`patient 12`, `site-B`, `2021_plate03`; a number or letter must follow: a plate or a date alone may be a class."""
DATE = re.compile(r"(.*\D)?(19|20)\d\d[-_.]?(0[1-9]|1[0-2])[-_.]?(0[1-9]|[12]\d|3[01])(\D.*)?")
"""ISO 8601, with or without separators, anywhere in the name."""
NUMBERED = re.compile(r"([a-z]{1,3})[-_ ]?\d{2,}", re.IGNORECASE)
"""`P01`, `pt_113`; where all names are, with the same letters."""
SYNSET = re.compile(r"n\d{8}")
"""ImageNet's classes are numbered too: https://www.image-net.org/."""
WELL = re.compile(r"[A-P](0[1-9]|1\d|2[0-4])")
"""Wells of a plate of 96 or 384."""


def look_like_groups(names: Sequence[str]) -> bool:
    """Whether most of some names carry a number, a letter or a date after which data is acquired."""
    if len(names) < 2 or any(SYNSET.fullmatch(name) for name in names):
        return False
    if sum(bool(NAMED.fullmatch(name) or DATE.fullmatch(name)) for name in names) >= MOST * len(names):
        return True
    numbered = [NUMBERED.fullmatch(name) for name in names]
    same = len({found[1].lower() for found in numbered if found}) == 1
    return (all(numbered) and same) or all(WELL.fullmatch(name) for name in names)
