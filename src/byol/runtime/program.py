"""How this program was called, for the commands that it tells people to type."""

import shlex
import shutil
import sys
from pathlib import Path


def program() -> str:
    """`byol`, or what to type instead where the shell does not find that: `.venv/bin/byol`, `python -m byol`."""
    called = Path(sys.argv[0])
    if called.stem not in ("byol", "__main__") or shutil.which("byol") is not None:
        return "byol"
    return shlex.quote(str(called)) if called.stem == "byol" else shlex.join([sys.executable, "-m", "byol"])
