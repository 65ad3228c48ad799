"""Embedded photographs: patches of 17 pictures that scikit-image and scikit-learn contain.

Nothing is downloaded: the files are inside the two packages. The task is to tell which photograph a patch was cut from,
on regions that training never sees.

The pictures and their terms, as the packages state them (`skimage/data/_fetchers.py`,
`sklearn/datasets/images/README.txt`):

- public domain or no known copyright restrictions: astronaut, hubble (both NASA), rocket (SpaceX), coins (Brooklyn
  Museum), ihc (CMMI), text (Wikipedia);
- CC0: brick, gravel (CC0Textures), grass (linolafett), camera (L. Varshney), chelsea (S. van der Walt), coffee
  (R. Michetti), retina (M. Häggström);
- CC BY 2.0: china (danielbuechele), flower (vultilion);
- without a statement of its own: moon; motorcycle (Middlebury 2014 stereo benchmark).
"""

import importlib.util
import zlib
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from byol.data.formats.decode import decode
from byol.data.sources.tensor import TensorSource
from byol.errors import UserError

__all__ = ["PHOTOS", "embedded_photos"]

# The pictures of both packages that are photographs, at least 172 pixels high, and part of the wheels. Left out are
# drawings (color, logo, horse, phantom), pictures that are mostly blank (cell, clock, page), and the right image of the
# stereo pair motorcycle.
PHOTOS: dict[str, tuple[str, str]] = {
    "astronaut": ("skimage", "data/astronaut.png"),
    "brick": ("skimage", "data/brick.png"),
    "camera": ("skimage", "data/camera.png"),
    "chelsea": ("skimage", "data/chelsea.png"),
    "china": ("sklearn", "datasets/images/china.jpg"),
    "coffee": ("skimage", "data/coffee.png"),
    "coins": ("skimage", "data/coins.png"),
    "flower": ("sklearn", "datasets/images/flower.jpg"),
    "grass": ("skimage", "data/grass.png"),
    "gravel": ("skimage", "data/gravel.png"),
    "hubble": ("skimage", "data/hubble_deep_field.jpg"),
    "ihc": ("skimage", "data/ihc.png"),
    "moon": ("skimage", "data/moon.png"),
    "motorcycle": ("skimage", "data/motorcycle_left.png"),
    "retina": ("skimage", "data/retina.jpg"),
    "rocket": ("skimage", "data/rocket.jpg"),
    "text": ("skimage", "data/text.png"),
}

BLOCK = 2
"""Side of a block in patches: the lowest photograph (172 pixels) still has two rows of blocks at 32 pixels."""
SCALES = (1.0, 1.25, 1.5)
"""How many times larger than delivered patches are cut; each block has places for every scale."""
TEST_SHARE = 0.25
"""Share of a photograph's blocks that is kept for testing."""
SEED = 0

Part = Literal["train", "test"]


def embedded_photos(part: Part = "train", size: int = 32, per_photo: int | None = None) -> TensorSource:
    """Patches of the 17 photographs, with the photograph's number as label.

    Each photograph is cut into a grid of blocks twice as wide as a patch. Every block belongs to one part, by a fixed
    random draw, and a patch lies within one block, so no pixel is in both parts. Gray photographs are repeated into
    three channels. The same call always gives the same patches, in an order that does not follow the labels.

    Args:
        part: "train" or "test"; a quarter of the blocks is for testing.
        size: height and width of a patch, 16 to 64 pixels.
        per_photo: patches of each photograph; by default 600 for training and 150 for testing. Neighbors overlap.

    Returns:
        (17 * per_photo, 3, size, size) uint8 in shuffled order.

    Raises:
        UserError: another part or size, more patches than there are places, or a package without its pictures.
    """
    if part not in ("train", "test"):
        raise UserError(f"part {part!r} of the embedded photos was given; give 'train' or 'test'.")
    if not 16 <= size <= 64:
        raise UserError(f"size {size} of the embedded photos was given; give 16 to 64 pixels.")
    count = (600 if part == "train" else 150) if per_photo is None else per_photo
    patches = [_patches(name, part, size, count) for name in PHOTOS]
    labels = torch.arange(len(PHOTOS)).repeat_interleave(count)
    order = torch.randperm(len(labels), generator=_generator(part))
    images = torch.cat(patches)[order]
    return TensorSource(images, labels[order].tolist(), list(PHOTOS), f"photos:{part}")


def _generator(*parts: object) -> torch.Generator:
    return torch.Generator().manual_seed(zlib.crc32(repr((SEED, *parts)).encode()))


def _patches(name: str, part: Part, size: int, count: int) -> Tensor:
    """(count, 3, size, size) uint8: patches of one photograph, drawn without replacement."""
    photo = _load(name)
    places = _places(photo.shape[1], photo.shape[2], name, part, size)
    if not 1 <= count <= len(places):
        raise UserError(
            f"{count} patches per photo were asked for; {name} has {len(places)} in this part, give 1 or more."
        )
    drawn = places[torch.randperm(len(places), generator=_generator(name, part))[:count]]
    patches = torch.empty(count, 3, size, size, dtype=torch.uint8)
    for side in {int(side) for side in drawn[:, 2]}:
        rows = (drawn[:, 2] == side).nonzero()[:, 0]
        cut = torch.stack([photo[:, top : top + side, left : left + side] for top, left, _ in drawn[rows].tolist()])
        if side != size:
            shrunk = F.interpolate(cut.float(), size=(size, size), mode="bicubic", antialias=True)
            cut = shrunk.round_().clamp_(0, 255).to(torch.uint8)
        patches[rows] = cut
    return patches


def _places(height: int, width: int, name: str, part: Part, size: int) -> Tensor:
    """(N, 3) int64: top, left and side of every patch of a part, in pixels."""
    block = size * BLOCK
    rows, columns = height // block, width // block
    order = torch.randperm(rows * columns, generator=_generator(name, "blocks"))
    held_out = max(1, round(TEST_SHARE * rows * columns))
    mine = order[:held_out] if part == "test" else order[held_out:]
    stride = size // 8
    places = []
    for number in mine.tolist():
        # The blocks are centered: pixels beyond them at the edges belong to no part.
        top = (height - rows * block) // 2 + number // columns * block
        left = (width - columns * block) // 2 + number % columns * block
        for scale in SCALES:
            side = int(size * scale)
            steps = range(0, block - side + 1, stride)
            places += [(top + down, left + right, side) for down in steps for right in steps]
    return torch.tensor(places)


def _load(name: str) -> Tensor:
    """A photograph as (3, H, W) uint8."""
    package, file = PHOTOS[name]
    found = importlib.util.find_spec(package)
    path = Path(found.origin or "").parent / file if found is not None else Path(file)
    try:
        return decode(path.read_bytes(), channels=3)
    except OSError as error:
        raise UserError(
            f"the embedded photo {name!r} is not in {package} ({path}); install scikit-image and scikit-learn again."
        ) from error
