"""Growth: resident memory and open files of one process over hundreds of epochs, and of evaluations again and again."""

import gc
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from faults.kills import look_up
from faults.product import FLAGS, byol, toy
from faults.trial import Trial, require

MOST = 0.01
"""Share by which resident memory may grow from a quarter of the epochs to the end."""
EPOCHS, CALLS = 200, 30


def trials(count: int, seed: int = 0) -> Iterator[Trial]:
    """A run of 200 epochs, and evaluation and embedding thirty times in one process."""
    yield Trial("resident memory and open files stay", f"training, {EPOCHS} epochs", training_stays)
    yield Trial("resident memory and open files stay", f"embed, {CALLS} times", lambda f: calls_stay(f, "embed"))
    yield Trial("resident memory and open files stay", f"eval, {CALLS} times", lambda f: calls_stay(f, "eval"))


def training_stays(folder: Path) -> str:
    """Memory after each epoch, from a quarter of them on."""
    data, _ = toy()
    note = folder / "looks"
    flags = list(FLAGS)
    for name, value in {"--epochs": str(EPOCHS), "--logging.checkpoint-minutes": "0.05"}.items():
        flags[flags.index(name) + 1] = value
    ended = byol("pretrain", data, "--out", folder / "run", *flags, before=lambda: look_at_epochs(note))
    require(ended.code == 0, f"exit code {ended.code}: {ended.said[-500:]}")
    return _stays(note, EPOCHS)


def look_at_epochs(note: Path) -> None:
    """Note memory and open files whenever the callbacks see the end of an epoch."""
    place, name, whole = look_up("byol.pretraining.callbacks:Callbacks._ends_epoch")

    def watched(self: Any) -> bool:
        ends = bool(whole(self))
        if ends:
            look(note)
        return ends

    setattr(place, name, watched)


def look(note: Path) -> None:
    """Append resident kilobytes and open files."""
    gc.collect()
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") // 1024
    with note.open("a") as file:
        file.write(json.dumps([resident, len(list(Path("/proc/self/fd").iterdir()))]) + "\n")


def calls_stay(folder: Path, verb: str) -> str:
    """The same command again and again in one process."""
    data, _ = toy()
    run, note = data.parent / "run", folder / "looks"
    arguments = {
        "embed": ("embed", run, data, "--out", folder / "vectors.npy", "--device", "cpu", "--force"),
        "eval": ("eval", "knn", run, "--train", data, "--test", data),
    }[verb]

    def again() -> None:
        place, name, whole = look_up("byol.cli.main:_dispatch")

        def watched(typed: list[str]) -> Any:
            code = 0
            for _ in range(CALLS):
                (folder / "vectors.npy").unlink(missing_ok=True)
                code = code or whole(typed)
                look(note)
            return code

        setattr(place, name, watched)

    ended = byol(*arguments, before=again)
    require(ended.code == 0, f"exit code {ended.code}: {ended.said[-500:]}")
    return _stays(note, CALLS)


def _stays(note: Path, times: int) -> str:
    looks = [json.loads(line) for line in note.read_text().splitlines()]
    require(len(looks) == times, f"{len(looks)} looks, not {times}")
    settled = looks[times // 4 :]
    first, last = settled[0][0], max(resident for resident, _ in settled)
    files = {number for _, number in settled}
    said = (
        f"{first / 1024:.1f} MiB, at most {last / 1024:.1f} MiB later ({last / first - 1:+.1%}); {sorted(files)} files"
    )
    require(last <= (1 + MOST) * first, said)
    require(len(files) == 1, said)
    return said
