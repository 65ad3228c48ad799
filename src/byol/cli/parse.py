"""Arguments to a dataclass, by tyro; what is wrong with them in one sentence instead of its boxes."""

import contextlib
import io
import os
import re
import sys
from pathlib import Path
from typing import Any, TypeVar

import tyro
from tyro.conf import arg

from byol.errors import UserError

Command = TypeVar("Command")

KINDS = {"INT": "a whole number", "FLOAT": "a number", "STR": "a text"}


def given(metavar: str, default: str = "the recipe's") -> Any:
    """How a flag without a value of its own is shown in --help."""
    return arg(metavar=metavar, help_behavior_hint=f"(default: {default})")


def parse(kind: type[Command], arguments: list[str], prog: str, description: str) -> Command:
    """A command from its arguments; --help prints and exits.

    Raises:
        UserError: a flag that does not exist, a value of the wrong kind, or something that is missing.
    """
    said = io.StringIO()
    parser: Any = tyro.cli
    try:
        with contextlib.redirect_stderr(said):
            command: Command = parser(kind, args=arguments, prog=prog, description=description)
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise UserError(sentence(said.getvalue(), prog)) from None
    sys.stderr.write(said.getvalue())  # a warning, if anything
    return command


def sentence(boxes: str, prog: str) -> str:
    """What tyro's box says, in one sentence; all its words where it is of an unknown kind."""
    blocks: list[list[str]] = [[]]
    for line in boxes.splitlines():
        if re.match("[╭╰+]", line) or re.search(
            "[─-]{8}", line
        ):  # the box's edges, which may bear its title, and rules
            blocks.append([])
        else:
            blocks[-1].append(re.sub(r"^[│|]\s?|\s*[│|]?\s*$", "", line))
    parts = ["\n".join(block) for block in blocks if any(block)] or [""]
    if (
        len(parts) > 1 and "╭" not in boxes
    ):  # where the terminal has plain letters only, the title is a block of its own
        del parts[0]
    text = " ".join(parts[0].split())
    help_ = f"see {prog} --help."
    if found := re.match(r"Unrecognized options?: (.*)", text):
        likely = re.findall(r"^\s+(--[\w.-]+)", "\n".join(parts[1:]), re.MULTILINE)
        meant = f" Did you mean {likely[0]}?" if likely else ""
        return f"There is no option {found[1].split(',')[0]}.{meant} For all of them {help_}"
    if found := re.match(r"Error parsing (\S+): no type matching (\S+) could be instantiated from \[(.*?)\]", text):
        wanted = next((words for name, words in KINDS.items() if name in found[2]), found[2])
        return f"{found[1]} is {found[3]}, but must be {wanted}; {help_}"
    if found := re.match(r"Error parsing (--\S+): .*(int\(\) with base 10|string to float): (.*)", text):
        wanted = KINDS["INT" if found[2].startswith("int") else "FLOAT"]
        return f"{found[1]} is {found[3]}, but must be {wanted}; {help_}"
    if found := re.match(r"invalid choice (.+) for argument '(\S+)'. Expected one of \((.*)\)", text):
        allowed = ", ".join(sorted(set(re.findall("'[^']*'", found[3])) - {"'None'"}))  # tyro gives them in any order
        return f"{found[2]} is {found[1]}, but must be one of {allowed}."
    if text.startswith("Missing from"):
        missing = re.findall(r"^\s+(--[\w.-]+|[A-Z]{2,})\b", parts[0], re.MULTILINE)
        return f"{prog} needs {' and '.join(missing)}; {help_}" if missing else f"{text}; {help_}"
    if found := re.match(r"Error parsing [\w.-]+: (.*)", text):
        return found[1]
    return text or f"The arguments cannot be read; {help_}"


def check_place(file: str | None) -> None:
    """See that a result can be written before hours are spent on it.

    Raises:
        UserError: it cannot.
    """
    if file is None:
        return
    path = Path(file)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"Cannot make the folder {path.parent}: {error.strerror}; give another file.") from error
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise UserError(f"Cannot write {path}: {'it is a folder' if path.is_dir() else 'its folder is not writable'}.")
