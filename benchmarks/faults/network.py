"""Network: a run on a folder opens no socket, and neither does what reads its encoder."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from faults.product import byol, toy, training
from faults.trial import Trial, require

EVENTS = ("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto")
"""Audit events of Python before a socket reaches out, or anybody can reach it."""


def trials(count: int, seed: int = 0) -> Iterator[Trial]:
    """Each command that works on a folder, with every socket refused and noted."""
    yield Trial("no network is used", "pretrain, and the commands on what it left", quiet)


def quiet(folder: Path) -> str:
    """Each command in turn."""
    data, _ = toy()
    out = folder / "run"
    commands: dict[str, tuple[str | Path, ...]] = {
        "pretrain": training(data, out),
        "plan": ("plan", data, "--device", "cpu", "--precision", "float32"),
        "eval knn": ("eval", "knn", out, "--train", data, "--test", data),
        "embed": ("embed", out, data, "--out", folder / "vectors.npy", "--device", "cpu"),
        "report": ("report", out),
        "export": ("export", out, "--format", "timm", "--out", folder / "timm.safetensors"),
    }
    used = []
    for name, arguments in commands.items():
        note = folder / "sockets"
        ended = byol(*arguments, before=lambda note=note: refuse_sockets(note))  # type: ignore[misc]
        require(not note.exists(), f"{name} used a socket: {note.read_text() if note.exists() else ''}")
        require(ended.code == 0, f"{name}: exit code {ended.code}: {ended.said[-500:]}")
        used.append(name)
    return f"no socket in {', '.join(used)}"


def refuse_sockets(note: Path) -> None:
    """Refuse every use of a network for the rest of this process, and note it in a file."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in EVENTS:
            with note.open("a") as file:
                file.write(f"{event} {arguments[1:]}\n")
            raise OSError(f"no network here: {event}")

    sys.addaudithook(hook)
