"""What travels to a machine without network: wheels, images, the commit; and whether it is small enough."""

import json
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

from byol.errors import UserError
from campaign.bare import REPOSITORY
from results_file import PACKED_COMMIT, STARTED_FROM, digest_of_sources
from workloads import DATA

LIMIT = 64 << 20
"""Bytes that may travel, the repository and the packed folder together."""
PHOTOGRAPH_BYTES = 12 << 20
"""Of photographs; they are listed again and again there, so a hundred serve as well as a thousand."""
PYTHON = "3.12"
"""Of the machine."""
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
WHEELS = (
    *("tyro", "typeguard", "docstring-parser", "tomlkit", "simplejpeg"),
    *("lightly", "pytorch-lightning", "lightning-utilities", "torchmetrics"),
    *("byol-pytorch", "beartype", "einops", "accelerate"),
    *("pytest", "pluggy", "iniconfig", "packaging"),
)
"""What byol, its peers and the tests need besides torch, torchvision, timm, pyarrow, rich, scikit-image and
scikit-learn. Versions are those of uv.lock; none that depends on torch brings its own."""


def pack(packed: Path, far: list[str] | None = None, start: Path | None = None) -> list[str]:
    """Fill a folder, and say what is in it.

    Args:
        packed: the folder; results of earlier calls in it stay.
        far: training and test images of a domain far from photographs, as Parquet.
        start: an encoder to start from: the folder of `encoder.safetensors` and `encoder.json`.

    Raises:
        UserError: something is missing, or all together is too large.
    """
    for part in ("wheels", "data", "far", "start"):
        shutil.rmtree(packed / part, ignore_errors=True)
    download(packed / "wheels")
    pack_images(DATA, packed / "data")
    for name, path in zip(("train", "test"), far or (), strict=False):
        copy_into(Path(path), packed / "far", f"{name}.parquet")
    for name in ("encoder.safetensors", "encoder.json") if start is not None else ():
        assert start is not None
        copy_into(start / name, packed / "start", name)
    (packed / PACKED_COMMIT.name).write_text(
        json.dumps({"commit": STARTED_FROM, "sources": digest_of_sources()}) + "\n"
    )
    return account(repository_files(), packed)


def download(folder: Path) -> None:
    """Fetch the wheels, for the Python of the machine."""
    locked = tomllib.loads((REPOSITORY / "uv.lock").read_text())["package"]
    versions = {package["name"]: package["version"] for package in locked}
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--python-version", PYTHON, "--implementation", "cp", "--dest", str(folder)]
    for platform in PLATFORMS:
        command += ["--platform", platform]
    command += [f"{name}=={versions[name]}" for name in WHEELS]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"pip cannot fetch the wheels: {done.stderr.strip().splitlines()[-1]}")


def pack_images(data: Path, folder: Path) -> None:
    """CIFAR-10 whole, and photographs up to `PHOTOGRAPH_BYTES`."""
    for part in ("train", "test"):
        copy_into(data / "cifar10" / f"{part}.parquet", folder / "cifar10", f"{part}.parquet")
    taken = 0
    for path in sorted((data / "imagenet-samples").glob("*.JPEG")):
        if taken + path.stat().st_size <= PHOTOGRAPH_BYTES:
            copy_into(path, folder / "imagenet-samples", path.name)
            taken += path.stat().st_size


def copy_into(path: Path, folder: Path, name: str) -> None:
    """Copy a file.

    Raises:
        UserError: there is none.
    """
    if not path.is_file():
        raise UserError(f"There is no {path}; set $BYOL_DATA to the folder of the data sets, or give another path.")
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, folder / name)  # without its mode: data folders may be read-only


def repository_files() -> list[Path]:
    """What git tracks or would track."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.split("\0")
    return [REPOSITORY / name for name in names if name and (REPOSITORY / name).is_file()]


def account(repository: Iterable[Path], packed: Path, limit: int = LIMIT) -> list[str]:
    """A line for each part that travels, with its size.

    Raises:
        UserError: all together is larger than `limit`.
    """
    sizes = {"repository": sum(path.stat().st_size for path in repository)}
    for path in sorted(packed.iterdir()):
        files = path.rglob("*") if path.is_dir() else [path]
        sizes[path.name] = sum(file.stat().st_size for file in files if file.is_file())
    total = sum(sizes.values())
    lines = [f"{size / 2**20:6.1f} MiB  {name}" for name, size in sizes.items()]
    lines.append(f"{total / 2**20:6.1f} MiB  together, of {limit / 2**20:.0f}")
    if total > limit:
        raise UserError("\n".join([*lines, f"{packed} is too large by {(total - limit) / 2**20:.1f} MiB."]))
    return lines
