"""Streams: runs that read tar shards, or Parquet by row group, are killed again and again, and train on two ranks.

The shards are of uneven sizes, and Parquet counts as larger than the memory, with a window of two row groups.
"""

import atexit
import functools
import io
import os
import random
import shutil
import signal
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from byol.data.sources import parquet, row_groups
from byol.pretraining.keep import is_finished
from faults.kills import signal_after
from faults.product import CLASSES, Process, byol, go_on_to_the_end, left_by, picture, require_the_same, training
from faults.ranks import STEP, all_ended, losses_of, same_losses, start_ranks
from faults.trial import Trial, require

IMAGES = 64
SHARDS = (37, 3, 24)
"""Images of each tar archive, and of each Parquet file."""
GROUP = 7
"""Images of a row group; the last ones of a file have fewer."""
KILLS, EPOCHS = 20, 24
"""How often a run is killed, and how long it is: 96 updates, far more than it makes between so many kills."""
DELAY = 0.03
"""Seconds after the beginning of an update in which the kill comes: about two updates."""


def trials(count: int, seed: int = 0) -> Iterator[Trial]:
    """Runs that are killed again and again, and runs on two ranks, for each kind of stream."""
    for kind in KINDS:
        for number in range(max(1, count // 25)):
            yield Trial(
                f"SIGKILL {KILLS} times while streaming, each time gone on with",
                f"{kind}, draw {number}",
                lambda folder, k=kind, n=number: killed_again_and_again(folder, k, seed=f"{seed} {n}"),
            )
        yield Trial("streamed by two ranks as by one", kind, lambda folder, k=kind: on_two_ranks(folder, k))
        yield Trial(
            "SIGKILL of both ranks while streaming, then go on",
            kind,
            lambda folder, k=kind: both_are_killed(folder, k, seed),
        )


def killed_again_and_again(folder: Path, kind: str, kills: int = KILLS, epochs: int = EPOCHS, seed: object = 0) -> str:
    """A run that is killed in the middle of its updates, goes on, is killed again, ...: the same end, byte for byte."""
    out, (data, expected) = folder / "run", streamed(kind, epochs)
    draw = random.Random(f"{seed} {kind}")
    moments = []
    for number in range(kills):
        call, delay = draw.randint(1, 2), draw.uniform(0, DELAY)
        arm = signal_after(STEP, call, delay, signal.SIGKILL, folder / f"sent-{number}")
        ended = Process(_training(data, out, epochs), arm).wait()
        require(ended.code == -signal.SIGKILL, f"kill {number} did not come: {ended.code}, {ended.sentence}")
        moments.append(len(losses_of(out)) if (out / "metrics.jsonl").exists() else 0)
    go_on_to_the_end(data, out)
    require_the_same(out, expected)
    return f"losses written at each kill: {', '.join(map(str, moments))}"


def on_two_ranks(folder: Path, kind: str, epochs: int = 2) -> str:
    """Two ranks divide the same batches: losses are those of one, within rounding, and no rank waits for ever."""
    (data, _), out = streamed(kind, epochs), folder / "run"
    alone = losses_of(data.parent / "run")
    ended = all_ended(start_ranks(_training(data, out, epochs), 2))
    require([one.code for one in ended] == [0, 0], ended[0].said[-600:])
    return f"losses differ by {same_losses(out, alone):.1e} at most"


def both_are_killed(folder: Path, kind: str, seed: int = 0, epochs: int = 2) -> str:
    """Both ranks are killed at a random moment, and go on: the same files as two ranks that nothing disturbed."""
    data, _ = streamed(kind, epochs)
    whole, out = folder / "whole", folder / "run"
    ended = all_ended(start_ranks(_training(data, whole, epochs), 2))
    require([one.code for one in ended] == [0, 0], ended[0].said[-600:])
    draw, sent = random.Random(f"{seed} {kind} ranks"), folder / "sent"
    call = draw.randint(2, 2 * epochs)
    arms = [signal_after(STEP, call, draw.uniform(0, DELAY), signal.SIGKILL, sent) for _ in range(2)]
    ended = all_ended(start_ranks(_training(data, out, epochs), 2, lambda rank: arms[rank]()))
    require(not is_finished(out), f"it ended before: {ended[0].sentence}")
    ended = all_ended(start_ranks(_training(data, out, epochs), 2))
    require([one.code for one in ended] == [0, 0], ended[0].said[-600:])
    require_the_same(out, left_by(whole))
    return f"in update {call}"


@functools.cache
def streamed(kind: str, epochs: int) -> tuple[Path, dict[str, Any]]:
    """The stored images, and what a run on them leaves that nothing disturbs."""
    folder = Path(tempfile.mkdtemp(prefix="byol-streams-"))
    _prepare(folder)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)  # forked processes leave without it
    data = folder / "images"
    data.mkdir()
    KINDS[kind](data)
    ended = byol(*_training(data, folder / "run", epochs))
    require(ended.code == 0, ended.said)
    return data, left_by(folder / "run")


def _training(data: Path, out: Path, epochs: int) -> tuple[str, ...]:
    return training(data, out, "--epochs", str(epochs), "--data.memory", "never")


def _prepare(home: Path) -> None:
    """Let this process, and those that it forks, take any Parquet for larger than the memory, and leave no index."""
    os.environ["BYOL_HOME"] = str(home)
    parquet.STREAMED_FROM = 0
    row_groups.WINDOW_BYTES = 2 * GROUP * len(_png(0)[0])


def _png(number: int) -> tuple[bytes, int]:
    """An image file and its class: the classes in turn."""
    file = io.BytesIO()
    picture(list(CLASSES)[number % 2], number // 2).save(file, "PNG")
    return file.getvalue(), number % 2


def _parts() -> Iterator[range]:
    start = 0
    for size in SHARDS:
        yield range(start, start + size)
        start += size


def _tar_shards(folder: Path) -> None:
    for number, part in enumerate(_parts()):
        with tarfile.open(folder / f"shard-{number}.tar", "w") as archive:
            for index in part:
                image, label = _png(index)
                for suffix, content in (("png", image), ("cls", str(label).encode())):
                    member = tarfile.TarInfo(f"{index:03d}.{suffix}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))


def _row_groups(folder: Path) -> None:
    for number, part in enumerate(_parts()):
        images, labels = zip(*map(_png, part), strict=True)
        table = pa.table({"image": pa.array(images, pa.binary()), "label": list(labels)})
        pq.write_table(table, folder / f"part-{number}.parquet", row_group_size=GROUP)


KINDS: dict[str, Callable[[Path], None]] = {"tar shards": _tar_shards, "row groups of Parquet": _row_groups}
