"""How files are read that can be read in more than one way: scans, volumes, videos, slides."""

from dataclasses import dataclass
from typing import Literal

from byol.config.checks import require

Window = Literal["auto", "hounsfield", "file", "percentiles"]
SliceAxis = Literal["auto", "sagittal", "coronal", "axial"]
Times = Literal["first", "all", "channels"]
Planes = Literal["all", "middle", "brightest"]


@dataclass(frozen=True, kw_only=True)
class ReadingConfig:
    """How scans, volumes, videos and slides are read; other images have one reading only."""

    window: Window = "auto"
    """Which values become black and white: auto takes `hounsfield` for CT in DICOM, the file's own first window for
    other DICOM, and percentiles elsewhere."""
    hounsfield: tuple[float, float] = (-1000.0, 1000.0)
    """Hounsfield units that become black and white, the same for all images (the range of Models Genesis,
    arXiv:1908.06912, Section 3); -160 240 shows soft tissue."""
    slices: SliceAxis = "auto"
    """Which slices of a volume are images; auto takes those across its coarsest axis, where pixels are finest."""
    empty_slices: bool = False
    """Keep slices that show hardly anything."""
    masks: bool = False
    """Take volumes of at most 32 different whole numbers for images too."""
    times: Times = "first"
    """Of a volume with a fourth axis, and of OME-Zarr with times: the first one, all of them, or the axis as channels
    (T1, T2, FLAIR)."""
    planes: Planes = "all"
    """Of OME-Zarr with several planes (z): each is an image, the middle one is, or the brightest values of all are."""
    pyramid_side: int = 512
    """OME-Zarr stores an image at several sizes: the smallest one with so many pixels on the shorter side is read, or
    the largest one."""
    seconds: float = 1.0
    """Seconds from one frame of a video that is an image to the next."""
    tile: int = 256
    """Side of the tiles of a whole-slide image, in pixels."""
    microns: float = 1.0
    """Microns per pixel at which tiles are cut; 0.5 is an objective of 20x, 1 one of 10x."""
    tissue: float = 0.5
    """Share of a tile that must be tissue; 0 keeps all tiles."""

    def __post_init__(self) -> None:
        low, high = self.hounsfield
        require(low < high, "hounsfield", self.hounsfield, "two values in Hounsfield units, the lower one first")
        require(self.pyramid_side >= 1, "pyramid_side", self.pyramid_side, "1 pixel or more")
        require(self.seconds > 0, "seconds", self.seconds, "more than 0 seconds")
        require(16 <= self.tile <= 4096, "tile", self.tile, "16 to 4096 pixels")
        require(self.microns > 0, "microns", self.microns, "more than 0 microns per pixel")
        require(0 <= self.tissue <= 1, "tissue", self.tissue, "a share from 0 to 1")
