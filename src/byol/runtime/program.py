"""How this program was called, for the commands that it tells people to type."""

import shlex
import shutil
import sys
from pathlib import Path


def program() -> str:
    """`byol`, or what to type instead where the shell does not find that: `.venv/bin/byol`, `python -m byol`."""
    called = Path(sys.argv[0])
    if shutil.which("byol") is None:
        if called.stem == "byol":
            return shlex.quote(str(called))
        if (called.parent.name, called.name) == ("byol", "__main__.py"):
            return shlex.join([sys.executable, "-m", "byol"])
    return "byol"
