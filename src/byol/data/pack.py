"""Images of any source as tar shards in WebDataset's layout: decoded once at most; a pack that was stopped goes on."""

import io
import json
import os
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from byol.data.formats import jpeg, png
from byol.data.formats.registry import format_of
from byol.data.formats.wanted import array_axes
from byol.data.sample import evenly
from byol.data.sources.base import Source
from byol.data.sources.digest import digest
from byol.data.sources.files import FileSource
from byol.data.sources.tar_index import index_of
from byol.errors import BadImage, UnreachableImage, UserError
from byol.runtime.checkpoint import write_atomically

__all__ = ["PLAN", "UNREADABLE", "Packed", "pack"]

PLAN, UNREADABLE = "pack.json", "unreadable.txt"
"""Files beside the shards: what they are of, and which images are missing."""
MISSING = ".unreadable"
"""End of the name of the list of a single shard, where something is missing in it."""
SAMPLED = 64
"""Images whose sizes tell how many go into a shard."""
QUALITY = 95
"""Of JPEG files that were made smaller."""


@dataclass(frozen=True)
class Packed:
    """What lies in a folder of shards."""

    images: int
    unreadable: int
    shards: int


def pack(
    source: Source,
    out: Path,
    *,
    side: int | None = None,
    shard_mib: float = 256,
    workers: int = 4,
    progress: Callable[[int], None] = lambda done: None,
) -> Packed:
    """Write a source's images as tar shards, in its order.

    JPEG and PNG files stay as they are. What is read from another format, or made smaller, becomes PNG (8 bits, gray or
    color), JPEG where it was one, a NumPy array (deeper, or of other channels), or TIFF where an array would not tell
    its channels from its height. Labels and groups lie in `.json` members.

    Args:
        source: the images.
        out: the folder; a pack that was stopped there goes on.
        side: shorter side, in pixels, that larger images are shrunk to; None leaves them as they are.
        shard_mib: size of a shard, about, in MiB.
        workers: threads.
        progress: is told how many images are done.

    Raises:
        UserError: the folder holds other shards, or cannot be written.
    """
    plan = _plan(source, out, side, shard_mib)
    count, per_shard = len(source), plan["images_per_shard"]
    shards = -(-count // per_shard)
    digits = max(6, len(str(shards)))
    with ThreadPoolExecutor(workers) as pool:
        for number in range(shards):
            path = out / f"shard-{number:0{digits}d}.tar"
            rows = range(number * per_shard, min((number + 1) * per_shard, count))
            if not path.exists():
                _write_shard(source, path, side, pool, rows)
            progress(rows.stop)
    missing = [line for path in sorted(out.glob(f"shard-*{MISSING}")) for line in _lines(path)]
    if missing:
        write_atomically(out / UNREADABLE, "".join(f"{line}\n" for line in missing))
    return Packed(count - len(missing), len(missing), shards)


def _plan(source: Source, out: Path, side: int | None, shard_mib: float) -> dict[str, Any]:
    """What the shards are of: as it was begun, or new."""
    wanted = {"fingerprint": source.fingerprint(), "side": side, "shard_mib": shard_mib}
    wanted |= {"channels": source.channels, "axes": source.axes, "groups": _digest_of_groups(source)}
    path = out / PLAN
    if path.exists():
        known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if {**wanted, **known} != {**known, **wanted}:
            raise UserError(
                f"{out} holds shards of other images, or with other settings; give another --out, or empty it."
            )
        return known
    if out.is_dir() and any(out.iterdir()):
        raise UserError(f"{out} is not empty, and holds no shards of ours; give another --out.")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"Cannot make the folder {out}: {error.strerror}; give another --out.") from error
    sizes = []
    for row in evenly(len(source), SAMPLED):
        try:
            sizes.append(len(_encoded(source, row, side)[0]))
        except UnreachableImage as error:
            raise UserError(f"{source.where(row)} {error}; check the disk.") from error
        except BadImage:
            continue
    mean = sum(sizes) / max(1, len(sizes)) + 2 * tarfile.BLOCKSIZE
    plan = {**wanted, "images": len(source), "images_per_shard": max(1, int(shard_mib * 2**20 / mean))}
    write_atomically(path, json.dumps(plan, indent=2) + "\n")
    return plan


def _digest_of_groups(source: Source) -> str:
    return "" if source.groups is None else digest([np.array(source.groups, dtype=np.int64).tobytes()])


def _write_shard(source: Source, path: Path, side: int | None, pool: ThreadPoolExecutor, rows: range) -> None:
    """Write one shard under its name once it is whole."""

    def encode(row: int) -> tuple[bytes, str] | str:
        try:
            return _encoded(source, row, side)
        except UnreachableImage as error:  # the disk, not the image: it may be there again
            raise UserError(f"{source.where(row)} {error}; start it again to continue.") from error
        except BadImage as error:
            return f"{source.where(row)}: {error}"

    temporary, missing = path.with_suffix(".tmp"), []
    try:
        with tarfile.open(temporary, "w") as archive:
            for row, result in zip(rows, pool.map(encode, rows), strict=True):
                if isinstance(result, str):
                    missing.append(result)
                    continue
                data, suffix = result
                _add(archive, f"{row:09d}.{suffix}", data)
                _add(archive, f"{row:09d}.json", json.dumps(_about(source, row)).encode())
        if missing:
            write_atomically(path.with_suffix(MISSING), "".join(f"{' '.join(line.split())}\n" for line in missing))
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        index_of(path)  # kept for the run that opens the shards
    except OSError as error:
        temporary.unlink(missing_ok=True)
        reason = error.strerror or error
        raise UserError(f"Cannot write {path}: {reason}; free the disk, and start it again.") from error


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)  # no times and no owners: the same images give the same bytes
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))


def _about(source: Source, row: int) -> dict[str, Any]:
    """What is kept of an image beside its pixels: where it was, its label and its group."""
    where = source.where(row)
    about: dict[str, Any] = {"name": os.path.relpath(where, source.root) if isinstance(source, FileSource) else where}
    if source.labels is not None and source.labels[row] >= 0:
        about["label"] = source.labels[row]
        if source.classes is not None:
            about["class"] = source.classes[source.labels[row]]
    if source.groups is not None and source.groups[row] >= 0:
        about["group"] = source.groups[row]
    return about


def _encoded(source: Source, row: int, side: int | None) -> tuple[bytes, str]:
    """An image's file and its suffix.

    Raises:
        BadImage: it cannot be read.
    """
    header = source.header(row)
    shrinks = side is not None and min(header.height, header.width) > side
    try:
        raw = source.read(row)
        kind = format_of(raw) if raw else None
    except NotImplementedError:  # images in memory
        raw, kind = b"", None
    if not shrinks and kind in (jpeg, png):
        return raw, "jpg" if kind is jpeg else "png"
    image = source.image(row, side if shrinks else None)
    if shrinks:
        assert side is not None
        image = _shrunk(image, side)
    if image.dtype == torch.uint8 and image.shape[0] in (1, 3):
        return _as_file(image, "JPEG" if kind is jpeg else "PNG"), "jpg" if kind is jpeg else "png"
    values = image.permute(1, 2, 0).contiguous().numpy()
    if header.depth == "16-bit" and image.dtype != torch.uint8:
        values = np.round(values * 65535).astype(np.uint16)
    file = io.BytesIO()
    if array_axes(values.shape) != "hwc":
        tifffile.imwrite(file, values, photometric="minisblack", planarconfig="contig", metadata=None)
        return file.getvalue(), "tif"
    np.save(file, values, allow_pickle=False)
    return file.getvalue(), "npy"


def _shrunk(image: Tensor, side: int) -> Tensor:
    """An image (C, H, W) whose shorter side is `side` pixels, antialiased."""
    height, width = image.shape[1:]
    scale = side / min(height, width)
    size = max(side, round(height * scale)), max(side, round(width * scale))
    resized = F.interpolate(image[None], size=size, mode="bicubic", antialias=True, align_corners=False)[0]
    return resized if image.dtype == torch.uint8 else resized.clamp(0, 1)


def _as_file(image: Tensor, form: str) -> bytes:
    pixels = image[0].numpy() if len(image) == 1 else image.permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, form, **({"quality": QUALITY} if form == "JPEG" else {}))
    return file.getvalue()


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()
