"""Hostile input: absurd sizes, names that lead elsewhere, pipes and devices, files that want to be unpickled.

Each is refused or passed over in a sentence, in bounded time and memory; nothing is run or written elsewhere.

Every input is harmless: a short file that says of itself what is not so.
"""

import io
import json
import os
import pickle
import shutil
import struct
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from faults.product import FLAGS, Ended, byol, toy
from faults.trial import Trial, require

SECONDS, MEBIBYTES = 60.0, 512
"""What refusing may take, beyond what the process had before."""


def trials(count: int, seed: int = 0) -> Iterator[Trial]:
    """Images, folders, archives, settings and weights."""
    for name, content in IMAGES.items():
        yield Trial("an image that is not what it says", name, lambda f, c=content: bad_image(f, c()))
    for name, place in PLACES.items():
        yield Trial("what is no plain file, among images", name, lambda f, p=place: passed_over(f, p))
    yield Trial("a tar archive whose names lead elsewhere", "paths, links, a device", archive)
    yield Trial("control characters in a file's name", "a broken image", controls)
    for name, text in DOCUMENTS.items():
        for file in ("config.json", "encoder.json", "plan.toml"):
            yield Trial(
                "settings of absurd size or depth", f"{file}, {name}", lambda f, t=text, n=file: document(f, n, t)
            )
    yield Trial("weights that declare an absurd header", "safetensors", header)
    yield Trial("files that want to be unpickled", "weights, an array, a checkpoint", unpickled)


# images


def png(width: int, height: int) -> bytes:
    """A PNG that states a size, and has no pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def npy(shape: tuple[int, ...], kind: str = "|u1") -> bytes:
    """An array that states a shape, and has twelve bytes."""
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(12)


IMAGES: dict[str, Callable[[], bytes]] = {
    "PNG of 100,000 x 100,000 pixels": lambda: png(100_000, 100_000),
    "PNG of 2^31 - 1 x 2^31 - 1 pixels": lambda: png(2**31 - 1, 2**31 - 1),
    "array of 10^12 values": lambda: npy((1_000_000, 1_000_000)),
    "array of objects": lambda: npy((2, 2), "|O"),
    "PPM of 10^10 pixels": lambda: b"P6\n100000 100000\n255\n" + bytes(12),
}
SUFFIXES = {b"\x89PNG": ".png", b"\x93NUM": ".npy", b"P6\n1": ".ppm"}


def bad_image(folder: Path, content: bytes) -> str:
    """Among whole images: listed with the reason, and the run is made of the others."""
    name = "bad" + SUFFIXES[content[:4]]
    data, out = _images(folder), folder / "run"
    (data / "red" / name).write_bytes(content)
    ended = bounded("pretrain", data, "--out", out, *FLAGS)
    listed = (out / "bad_images.txt").read_text() if (out / "bad_images.txt").exists() else ""
    require(ended.code == 0, f"exit code {ended.code}: {ended.said[-500:]}")
    require(name in listed, f"it was not listed: {listed}")
    return listed.strip().split("\t")[-1]


# folders


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _loop(path: Path) -> None:
    path.with_suffix("").symlink_to(path.parent.parent)


PLACES: dict[str, Callable[[Path], None]] = {
    "a pipe": _pipe,
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
    "a link to nothing": lambda path: path.symlink_to("/nowhere/at/all.png"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a folder that leads to one above it": _loop,
    "a folder with an image's name": lambda path: path.mkdir(),
}


def passed_over(folder: Path, place: Callable[[Path], None]) -> str:
    """The run is made of the plain files."""
    data, out = _images(folder), folder / "run"
    place(data / "red" / "zz.png")
    ended = bounded("pretrain", data, "--out", out, *FLAGS)
    require(ended.code == 0, f"exit code {ended.code}: {ended.said[-500:]}")
    listed = (out / "bad_images.txt").read_text() if (out / "bad_images.txt").exists() else ""
    return listed.strip().split("\t")[-1] or "not taken for an image"


def controls(folder: Path) -> str:
    """Colors and a new line in a name: neither reaches the terminal, and the list keeps one line for the image."""
    data, out = _images(folder), folder / "run"
    (data / "red" / "a\x1b[31mred\nline\x07.png").write_bytes(b"no image")
    ended = bounded("pretrain", data, "--out", out, *FLAGS)
    require(ended.code == 0, f"exit code {ended.code}: {ended.said[-500:]}")
    lines = (out / "bad_images.txt").read_text().splitlines()
    require(len(lines) == 1, f"{len(lines)} lines")
    for text in (ended.said, lines[0], (out / "log.txt").read_text()):
        require("\x1b[31m" not in text and "\x07" not in text, f"a control character: {text!r}")
    return lines[0].rsplit("/", 1)[-1]


# archives


def archive(folder: Path) -> str:
    """Members with paths that lead out of the archive, links and a device, packed among images: nothing is unpacked."""
    images, place = toy()[0], folder / "images.tar"
    with tarfile.open(place, "w") as tar:
        for number, image in enumerate(sorted(images.rglob("*.png"))):
            tar.add(image, f"{number:04d}.png")
        content = image.read_bytes()
        for name in ("../../escaped.png", "/tmp/byol-escaped.png", "a/../../b.png"):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for name, kind in (("link.png", tarfile.SYMTYPE), ("hard.png", tarfile.LNKTYPE), ("zero.png", tarfile.CHRTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.devmajor, member.devminor = kind, "/etc/hostname", 1, 5
            tar.addfile(member)
    before = _tree(folder.parent, folder)
    out = folder / "run"
    ended = bounded("pretrain", place, "--out", out, *FLAGS)
    require(ended.code == 0, f"exit code {ended.code}: {ended.said[-500:]}")
    require(not Path("/tmp/byol-escaped.png").exists(), "written outside")
    require(_tree(folder.parent, folder) - before == set(), "something was written beside the run")
    images_seen = json.loads((out / "config.json").read_text())["images"]
    return f"{images_seen} images trained on, nothing unpacked"


def _tree(parent: Path, own: Path) -> set[Path]:
    return {path for path in parent.glob("*escaped*") if path != own}


# settings

DOCUMENTS: dict[str, Callable[[Path], object]] = {
    "a gigabyte of nothing": lambda path: (path.write_bytes(b""), os.truncate(path, 1 << 30)),
    "100,000 brackets": lambda path: path.write_text("a = " * (path.suffix == ".toml") + "[" * 100_000),
    "no text": lambda path: path.write_bytes(b"\xff\xfe\x00{"),
}


def document(folder: Path, name: str, spoil: Callable[[Path], object]) -> str:
    """A run's settings, an encoder's card, or a plan."""
    data, run = toy()[0], folder / "run"
    shutil.copytree(data.parent / "run", run)
    path = folder / name if name == "plan.toml" else run / name
    spoil(path)
    commands: dict[str, tuple[str | Path, ...]] = {
        "config.json": ("pretrain", "--resume", run),
        "encoder.json": ("eval", "knn", run, "--train", data, "--test", data),
        "plan.toml": ("pretrain", data, "--plan", path, "--out", folder / "other"),
    }
    ended = bounded(*commands[name])
    require(name in ended.sentence, f"refused for another reason: {ended.sentence}")
    return _refused(ended)


# weights


def header(folder: Path) -> str:
    """A file that says that its header is 2^60 bytes long."""
    run = folder / "run"
    shutil.copytree(toy()[0].parent / "run", run)
    (run / "encoder.safetensors").write_bytes(struct.pack("<Q", 1 << 60) + b"{}")
    return _refused(bounded("eval", "knn", run, "--train", toy()[0], "--test", toy()[0]))


class Trap:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def unpickled(folder: Path) -> str:
    """A file of weights, an image that is an array of objects, and a checkpoint: the trap in them is never sprung."""
    mark, data = folder / "sprung", _images(folder)
    torch.save({"state_dict": {"a": torch.ones(2)}, "trap": Trap(mark)}, folder / "weights.pth")
    with (data / "red" / "bad.npy").open("wb") as file:
        np.save(file, np.array([Trap(mark)], dtype=object), allow_pickle=True)
    weights = bounded("weights", folder / "weights.pth")
    trained = bounded("pretrain", data, "--out", folder / "run", *FLAGS)
    require(trained.code == 0, trained.said[-500:])
    (folder / "run" / "encoder.safetensors").write_bytes(pickle.dumps(Trap(mark)))
    read = bounded("eval", "knn", folder / "run", "--train", data, "--test", data)
    _refused(read)
    require(not mark.exists(), "it was unpickled")
    require("Traceback" not in weights.said, weights.said[-500:])
    return f"not unpickled; weights: {weights.sentence[:100]}"


def _images(folder: Path) -> Path:
    shutil.copytree(toy()[0], folder / "images")
    return folder / "images"


def bounded(*arguments: str | Path) -> Ended:
    """A command in bounded time and memory: the process is given no more."""
    import resource

    def bound() -> None:
        own = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGESIZE")
        most = own + (MEBIBYTES << 20)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))

    ended = byol(*arguments, before=bound)
    require(ended.seconds <= SECONDS, f"it took {ended.seconds:.0f} s")
    require("Traceback" not in ended.said, ended.said[-900:])
    return ended


def _refused(ended: Ended) -> str:
    require("--help" not in ended.sentence, f"the command itself was refused: {ended.sentence}")
    require(ended.code == 2, f"exit code {ended.code}: {ended.said[-500:]}")
    require(ended.sentence.startswith("byol: "), f"no sentence: {ended.said[-500:]}")
    return ended.sentence[:200]
