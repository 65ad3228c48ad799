"""Photographs made up in memory, for measuring where there are none at hand."""

import io

import torch
import torch.nn.functional as F
from PIL import Image

from byol.data.sources.base import Source
from byol.data.sources.digest import digest

HEIGHT, WIDTH = 375, 500
"""The commonest size of ImageNet's photographs."""
COUNT = 1_281_167
"""As many as ImageNet's training part has, so that they are decoded anew as those are."""
DIFFERENT = 16
"""Photographs that are really made; the others are these again."""
DETAIL = 20
"""Standard deviation of the fine grain, of 255: a JPEG then has about ImageNet's 110 kB."""
QUALITY = 90


class SyntheticPhotos(Source):
    """JPEGs of smooth colors and fine grain, 500 x 375 pixels; the same ones whenever they are made."""

    def __init__(self, count: int = COUNT) -> None:
        self.name = "synthetic photographs"
        self.channels = 3
        self.labels = None
        self.classes = None
        self._count = count
        self._files = [_photo(number) for number in range(min(DIFFERENT, count))]

    def __len__(self) -> int:
        return self._count

    def read(self, index: int) -> bytes:
        return self._files[index % len(self._files)]

    def where(self, index: int) -> str:
        return f"{self.name} number {index}"

    def fingerprint(self) -> str:
        return digest([str(self._count), *self._files])


def _photo(number: int) -> bytes:
    generator = torch.Generator().manual_seed(number)
    coarse = 255 * torch.rand(1, 3, 6, 8, generator=generator)
    smooth = F.interpolate(coarse, size=(HEIGHT, WIDTH), mode="bicubic", align_corners=False)[0]
    grain = DETAIL * torch.randn(1, HEIGHT, WIDTH, generator=generator)
    pixels = (smooth + grain).clamp(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous()
    file = io.BytesIO()
    Image.fromarray(pixels.numpy()).save(file, format="JPEG", quality=QUALITY)
    return file.getvalue()
