"""Images with a depth for every pixel: NYUv2's labeled file, a folder of pairs, or scikit-image's stereo image."""

import importlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from byol.data.formats.decode import decode
from byol.data.sources.digest import digest
from byol.data.sources.open import Source, open_source
from byol.data.sources.tensor import TensorSource
from byol.errors import BadImage, UserError
from byol.evals.dense import MapSource

TILE = 96
"""Side of the squares that the stereo image is cut into, in pixels."""
FOCAL, BASELINE, OFFSET = 994.978, 0.193001, 31.086
"""Of the stereo image: focal length in pixels, baseline in meters, disparity offset in pixels (the documentation of
`skimage.data.stereo_motorcycle`)."""


class DepthSource(MapSource):
    """Images and depths held in memory.

    Args:
        base: the images.
        depths: (H, W) float32 in meters each; 0, NaN or infinite where unknown.
    """

    def __init__(self, base: Source, depths: list[Tensor]) -> None:
        assert len(base) == len(depths), "one depth map per image"
        super().__init__(base)
        self.labels = None
        self._depths = depths

    def map(self, index: int) -> Tensor:
        """(H, W) float32 in meters, 0 where unknown."""
        depth = torch.nan_to_num(self._depths[index].float(), nan=0.0, posinf=0.0, neginf=0.0)
        return depth.clamp_min(0)

    def subset(self, indices: Sequence[int]) -> "DepthSource":
        """These images with their depths."""
        return DepthSource(self._base.subset(indices), [self._depths[index] for index in indices])

    def fingerprint(self) -> str:
        return digest([self._base.fingerprint(), *(depth.numpy().tobytes() for depth in self._depths)])


def open_depths(data: str | Path, channels: int = 3) -> DepthSource:
    """Images with depths.

    Args:
        data: NYUv2's labeled `.mat` (HDF5; needs h5py), with `:train` or `:test` after it for the usual split, where
            `splits.mat` lies beside; a folder with `images` and `depths` (`.npy` in meters, or 16-bit PNG in
            millimeters, of the same names); or `motorcycle:train` and `motorcycle:test`, every other square of
            scikit-image's stereo image.
        channels: of the images.

    Raises:
        UserError: the data has no depths, or not in one of these layouts.
    """
    path, _, part = str(data).partition(":")
    if path == "motorcycle":
        return _motorcycle(part or "train", channels)
    if path.endswith(".mat"):
        return _nyu(Path(path), part, channels)
    folder = Path(path)
    if not (folder / "images").is_dir() or not (folder / "depths").is_dir():
        raise UserError(f"{path!r} has no images and depths folders; give such a folder, NYUv2's .mat, or motorcycle.")
    base = open_source(folder / "images", channels)
    return DepthSource(base, [_read(folder / "depths", Path(base.where(index)).stem) for index in range(len(base))])


def _read(folder: Path, stem: str) -> Tensor:
    array, image = folder / f"{stem}.npy", folder / f"{stem}.png"
    try:
        if array.is_file():
            return torch.from_numpy(np.load(array, allow_pickle=False).astype(np.float32))
        depth = decode(image.read_bytes(), 1)[0]
        if depth.dtype == torch.uint8:
            raise BadImage("8 bits cannot hold millimeters")
        return depth.float() * 65.535  # 65535 millimeters
    except (OSError, BadImage, ValueError) as error:
        raise UserError(
            f"There is no depth for {stem!r} in {folder} ({error}); give {stem}.npy, or {stem}.png of 16 bits."
        ) from error


def _motorcycle(part: str, channels: int) -> DepthSource:
    from skimage.data import stereo_motorcycle

    if part not in ("train", "test") or channels != 3:
        raise UserError("Give motorcycle:train or motorcycle:test, with 3 channels.")
    left, _, disparity = stereo_motorcycle()  # type: ignore[no-untyped-call]
    image = torch.from_numpy(left.copy()).permute(2, 0, 1)
    depth = torch.from_numpy(FOCAL * BASELINE / (disparity.astype(np.float64) + OFFSET)).float()
    depth[~torch.from_numpy(np.isfinite(disparity))] = 0
    images, depths = [], []
    for row in range(image.shape[1] // TILE):
        for column in range(image.shape[2] // TILE):
            if (row + column) % 2 == (part == "test"):
                window = (slice(row * TILE, (row + 1) * TILE), slice(column * TILE, (column + 1) * TILE))
                images.append(image[(slice(None), *window)])
                depths.append(depth[window].clone())
    return DepthSource(TensorSource(torch.stack(images), name=f"motorcycle:{part}"), depths)


def _nyu(path: Path, part: str, channels: int) -> DepthSource:
    """The 1,449 labeled frames: `images` (N, 3, W, H) uint8 and `depths` (N, W, H) in meters."""
    try:
        h5py = importlib.import_module("h5py")
    except ImportError as error:
        raise UserError("Reading NYUv2's .mat takes h5py; run: pip install 'byol[hdf5]'.") from error
    try:
        with h5py.File(path) as file:
            images, depths = np.asarray(file["images"]), np.asarray(file["depths"], dtype=np.float32)
    except (OSError, KeyError) as error:
        raise UserError(f"{path} is not NYUv2's labeled file ({error}).") from error
    chosen = np.arange(len(images))
    if part:
        chosen = _nyu_split(path.with_name("splits.mat"), part)
    stacked = torch.from_numpy(images[chosen].transpose(0, 1, 3, 2).copy())
    if channels != 3:
        raise UserError(f"NYUv2 has 3 channels; {channels} were asked for.")
    return DepthSource(TensorSource(stacked, name=str(path)), [torch.from_numpy(depths[i].T.copy()) for i in chosen])


def _nyu_split(path: Path, part: str) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    key = {"train": "trainNdxs", "test": "testNdxs"}.get(part)
    if key is None or not path.is_file():
        raise UserError(f"The part {part!r} needs {path} and must be train or test.")
    numbers: np.ndarray[tuple[int], np.dtype[np.int64]] = (
        importlib.import_module("scipy.io").loadmat(str(path))[key].astype(np.int64).ravel() - 1
    )
    return numbers
