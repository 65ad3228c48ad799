"""Disks: files that are torn or flipped, a disk that is full or read-only, images that go away or change."""

import json
import os
import random
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from byol.runtime.checkpoint import load_checkpoint, save_checkpoint
from faults.kills import at_call, kill_at_call
from faults.product import Ended, Process, byol, go_on_to_the_end, require_the_same, toy, training
from faults.trial import Trial, require

Damage = Callable[[bytes, int], bytes]

DAMAGES: dict[str, Damage] = {
    "a bit flipped": lambda content, at: content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :],
    "cut short": lambda content, at: content[:at],
    "zeros from there on": lambda content, at: content[:at] + bytes(len(content) - at),
    "a block of zeros": lambda content, at: content[:at] + bytes(min(512, len(content) - at)) + content[at + 512 :],
}
"""What is done to a file from a byte on."""
FILES = ("step-000000020.json", "step-000000020.safetensors")
REGIONS = {"first byte": 0.0, "header": 0.01, "a quarter": 0.25, "middle": 0.5, "last byte": 1.0}
"""Where a file of a whole run is damaged, as a share of its length."""


def trials(count: int, seed: int = 0) -> Iterator[Trial]:
    """Every byte of a small checkpoint; regions of the files of a run; disks; images."""
    for file in FILES:
        for name in DAMAGES:
            yield Trial(
                "a checkpoint's file, damaged at every byte",
                f"{Path(file).suffix[1:]}, {name}",
                lambda folder, f=file, n=name: every_byte(folder, f, DAMAGES[n]),
            )
    for place in ("checkpoint.json", "checkpoint.safetensors", "best.safetensors", "metrics.jsonl"):
        for region, share in REGIONS.items():
            yield Trial(
                "a file of a killed run, a bit flipped",
                f"{place}, {region}",
                lambda folder, p=place, s=share: damaged_run(folder, p, s),
            )
    for number in range(max(1, count // 10)):
        yield Trial(
            "a full disk, then room again",
            f"draw {number}",
            lambda folder, n=number: full(folder, random.Random(f"{seed} full {n}").uniform(0.15, 0.95)),
        )
    yield Trial("a quota of a file's size, then none", "half of a checkpoint", quota)
    yield Trial("a disk that becomes read-only, then writable", "in the middle", read_only)
    yield Trial("an output folder on a read-only disk", "at the start", read_only_at_once)
    yield Trial("images that change while the run is stopped", "one byte", changed)
    yield Trial("images that go away while the run is stopped", "one file", vanished)


# files


def every_byte(folder: Path, file: str, damage: Damage) -> str:
    """Of two checkpoints the later is damaged, at one byte after the other: it is told, and the earlier is taken."""
    generator = torch.Generator().manual_seed(0)
    tensors = {"method.a": torch.randn(3, 4, generator=generator), "optimizer.0.m": torch.randn(5, generator=generator)}
    extra = {"losses": [0.5, 1e-05], "best": None, "ended": False}
    for step in (10, 20):
        save_checkpoint(folder, step, {name: value + step for name, value in tensors.items()}, extra)
    path = folder / file
    whole = path.read_bytes()
    same = 0
    for at in range(len(whole)):
        broken = damage(whole, at)
        path.write_bytes(broken)
        found, messages = load_checkpoint(folder)
        require(found is not None, f"nothing was found with byte {at} damaged")
        assert found is not None
        if broken == whole or _same_values(broken, whole):
            require(found.step == 20, f"a whole one was passed over at byte {at}")
            same += 1
            continue
        require(found.step == 10, f"damage at byte {at} of {len(whole)} was not seen: {broken[at - 9 : at + 9]!r}")
        require(len(messages) == 1 and "torn" in messages[0], f"it was not told at byte {at}: {messages}")
        require(torch.equal(found.tensors["method.a"], tensors["method.a"] + 10), "other values")
        require(found.extra == extra, "another history")
    return f"{len(whole) - same} places, all seen; {same} that change nothing"


def _same_values(broken: bytes, whole: bytes) -> bool:
    """Whether two JSON texts say the same: blanks and the letter of an exponent are no values."""
    try:
        return bool(json.loads(broken) == json.loads(whole))
    except (ValueError, RecursionError):
        return False


def damaged_run(folder: Path, place: str, share: float) -> str:
    """A run is killed near its end, a bit of one of its files is flipped, and it goes on to the same end."""
    out, (data, expected) = folder / "run", toy()
    killed = Process(training(data, out), kill_at_call("byol.pretraining.finish:judge_encoder", 1)).wait()
    require(killed.code == -9, killed.sentence)
    suffix = Path(place).suffix
    path = max((out / "checkpoints").glob(f"*{suffix}")) if place.startswith("checkpoint") else out / place
    content = path.read_bytes()
    at = min(len(content) - 1, int(share * len(content)))
    path.write_bytes(DAMAGES["a bit flipped"](content, at))
    goes = go_on_to_the_end(data, out)
    if place == "best.safetensors":  # the last encoder is kept then, and that is said
        require(any("is torn" in line for line in goes[-1].said.splitlines()), f"not told: {goes[-1].said[-500:]}")
        return f"byte {at} of {len(content)}; told, and the last encoder kept"
    if place == "metrics.jsonl":  # a line of numbers may be lost, the encoder may not
        require((out / "encoder.safetensors").read_bytes() == expected["encoder.safetensors"], "another encoder")
        return f"byte {at} of {len(content)}; the same encoder"
    require("is torn" in goes[0].said, "the torn checkpoint was not told")
    require_the_same(out, expected)
    return f"byte {at} of {len(content)}; told, the same end"


class SmallDisk:
    """A file system in memory, of a few kilobytes; needs the right to mount."""

    def __init__(self, folder: Path, kilobytes: int) -> None:
        self.path = folder / "disk"
        self.path.mkdir()
        self._mount("-t", "tmpfs", "-o", f"size={kilobytes}k", "none")

    def remount(self, options: str) -> None:
        """Change its size, or whether it can be written to."""
        self._mount("-o", f"remount,{options}")

    def _mount(self, *arguments: str) -> None:
        subprocess.run(["mount", *arguments, str(self.path)], check=True, capture_output=True)

    def __enter__(self) -> "SmallDisk":
        return self

    def __exit__(self, *error: object) -> None:
        subprocess.run(["umount", str(self.path)], check=True, capture_output=True)


def full(folder: Path, share: float) -> str:
    """A disk with room for a share of what the run needs: told with the path; with room again it goes on."""
    data, expected = toy()
    needed = _kilobytes(data.parent / "run")
    with SmallDisk(folder, max(8, int(share * needed))) as disk:
        out = disk.path / "run"
        ended = byol(*training(data, out))
        _told(ended, disk.path)
        _no_half_products(out)
        disk.remount("size=64m")
        go_on_to_the_end(data, out)
        require_the_same(out, expected)
    return f"room for {share:.0%}: {ended.sentence[-160:]}"


def quota(folder: Path) -> str:
    """No file may grow beyond half of a checkpoint."""
    data, expected = toy()
    largest = max(path.stat().st_size for path in (data.parent / "run").rglob("*") if path.is_file())
    out = folder / "run"

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest // 2, largest // 2))

    ended = byol(*training(data, out), before=limit)
    _told(ended, folder)
    _no_half_products(out)
    go_on_to_the_end(data, out)
    require_the_same(out, expected)
    return ended.sentence[-160:]


def read_only(folder: Path) -> str:
    """The disk goes read-only in the middle of a run."""
    data, expected = toy()
    with SmallDisk(folder, 65536) as disk:
        out = disk.path / "run"
        # a file that is open for writing keeps a disk from going read-only: a bind mount is asked instead
        subprocess.run(["mount", "--bind", str(disk.path), str(disk.path)], check=True)
        try:
            freeze = at_call("byol.runtime.checkpoint:save_checkpoint", 5, lambda *_: disk.remount("bind,ro"))
            ended = byol(*training(data, out), before=freeze)
            _told(ended, disk.path)
            _no_half_products(out)
            disk.remount("bind,rw")
            go_on_to_the_end(data, out)
            require_the_same(out, expected)
        finally:
            subprocess.run(["umount", str(disk.path)], check=True)
    return ended.sentence[-160:]


def read_only_at_once(folder: Path) -> str:
    """The folder cannot be made: nothing is trained."""
    data, _ = toy()
    with SmallDisk(folder, 64) as disk:
        disk.remount("ro")
        ended = byol(*training(data, disk.path / "run"))
        _told(ended, disk.path)
    return ended.sentence[-160:]


def _told(ended: Ended, place: Path) -> None:
    require(ended.code == 2, f"exit code {ended.code}: {ended.said[-800:]}")
    require("Traceback" not in ended.said, f"a traceback: {ended.said[-800:]}")
    require(str(place) in ended.sentence, f"the path is not named: {ended.sentence}")


def _no_half_products(out: Path) -> None:
    """Files that have their names are whole."""
    from safetensors import safe_open

    for path in out.rglob("*.safetensors"):
        with safe_open(path, "pt") as file:
            require(len(list(file.keys())) > 0, f"{path.name} is empty")
    for path in out.rglob("*.json"):
        json.loads(path.read_text())


def _kilobytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) // 1024


# images


def changed(folder: Path) -> str:
    """A byte of an image changes while the run is stopped: refused, with the reason."""
    return _stopped_with(folder, _change_a_byte, "changed")


def vanished(folder: Path) -> str:
    """An image goes away while the run is stopped: refused, with the reason."""
    return _stopped_with(folder, lambda path: path.unlink(), "does not hold the images")


def _change_a_byte(path: Path) -> None:
    content, times = bytearray(path.read_bytes()), path.stat()
    content[-20] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def _stopped_with(folder: Path, spoil: Callable[[Path], None], word: str) -> str:
    data, out, (images, expected) = folder / "images", folder / "run", toy()
    shutil.copytree(images, data)
    Process(training(data, out), kill_at_call("byol.pretraining.train:TrainStep.__call__", 5)).wait()
    victim = sorted(data.rglob("*.png"))[3]
    whole = victim.read_bytes()
    spoil(victim)
    ended = byol(*training(data, out))
    require(ended.code == 2 and word in ended.said, f"exit code {ended.code}: {ended.said[-500:]}")
    victim.write_bytes(whole)
    go_on_to_the_end(data, out)
    require_the_same(out, expected)
    return ended.sentence[-160:]
