"""A machine on which nothing is installed but PyTorch and its companions: imports from carried wheels."""

import importlib
import os
import sys
import tomllib
import zipfile
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent.parent


def make_importable(wheels: Path, site: Path) -> list[str]:
    """Let this process, and those that it starts, import byol from here and what else is missing from wheels.

    A package that is installed stays as it is: only what cannot be imported is unpacked.

    Args:
        wheels: folder of the carried wheels; it need not exist.
        site: folder into which they are unpacked.

    Returns:
        The names of the wheels that were unpacked.
    """
    if find_spec("byol") is None:
        _add_path(REPOSITORY / "src")
    _describe_byol(site)
    missing = [wheel for wheel in sorted(wheels.glob("*.whl")) if not all(map(find_spec, _modules(wheel)))]
    for wheel in missing:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)
    if site.is_dir():
        _add_path(site)
    return [wheel.name for wheel in missing]


def _modules(wheel: Path) -> set[str]:
    """The top-level modules of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        files = [name for name in archive.namelist() if name.endswith((".py", ".so"))]
    tops = {name.split("/")[0].split(".")[0] for name in files if ".data/" not in name and ".dist-info/" not in name}
    return {top for top in tops if top.isidentifier()}


def _describe_byol(site: Path) -> None:
    """Where byol is not installed, say which version this is, for `importlib.metadata`."""
    try:
        version("byol")
    except PackageNotFoundError:
        number = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
        folder = site / f"byol-{number}.dist-info"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: byol\nVersion: {number}\n")


def _add_path(folder: Path) -> None:
    """Put a folder after what is there, here and in the processes that this one starts."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    before = os.environ.get("PYTHONPATH", "")
    if str(folder) not in before.split(os.pathsep):
        os.environ["PYTHONPATH"] = os.pathsep.join([part for part in (before, str(folder)) if part])
    importlib.invalidate_caches()
