"""Embeddings in Python, in the manner of scikit-learn: `byol.Embedder("runs/photos").transform(images)`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from torch import Tensor

from byol.config.run import Device, Precision
from byol.data.formats.header import Header
from byol.data.reading import opened_as
from byol.data.sources.base import Source
from byol.data.sources.digest import digest
from byol.data.sources.files import file_source
from byol.data.sources.open import open_source
from byol.data.sources.tensor import TensorSource
from byol.encoders.build import features_of
from byol.encoders.load import LoadedEncoder, open_encoder
from byol.errors import UserError
from byol.evals.cache import FeatureConfig, finite_blocks
from byol.evals.calibration import calibrated
from byol.evals.evaluation import input_channels, silent
from byol.runtime.device import choose_device


class Embedder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Images to vectors, as a transformer of scikit-learn: it works in a `Pipeline`.

    Args:
        encoder: a run's folder, a file of weights, `timm:NAME`, `random:NAME`, `pixels`, or a loaded encoder.
        device: where it runs: `auto`, `cpu`, `cuda` or `mps`.
        batch_size: images per forward pass.
        precision: of the forward pass; `auto` is bf16 where the hardware multiplies it.

    Images are a `Source`, anything that `open_source` opens, a sequence of paths or of PIL images, or an array: (N, C,
    H, W) or (N, H, W, C), uint8 or floating point in [0, 1]. Nothing need be fitted; `fit` shows an encoder with fresh
    weights some images, as its batch norm needs averages.
    """

    def __init__(
        self,
        encoder: str | Path | LoadedEncoder,
        *,
        device: Device = "auto",
        batch_size: int = 256,
        precision: Precision = "auto",
    ) -> None:
        self.encoder = encoder
        self.device = device
        self.batch_size = batch_size
        self.precision = precision

    def fit(self, images: Any, y: Any = None) -> Self:
        """Load the encoder; `images` matter to fresh weights only, `y` never.

        Raises:
            UserError: there is no such encoder, or there are no images.
        """
        device, _ = choose_device(self.device)
        encoder = self._open()
        if encoder.fresh:
            encoder = calibrated(encoder, self._source(images, encoder), device)
        self._prepare(encoder)
        return self

    def transform(self, images: Any) -> NDArray[np.float32]:
        """Embeddings (N, D) float32 of N images, in their order.

        Raises:
            UserError: there is no such encoder, an image cannot be read, or a feature is not finite.
        """
        if not hasattr(self, "loaded_"):
            self._prepare(self._open())
        device, _ = choose_device(self.device)
        source = self._source(images, self.loaded_)
        self.loaded_.check(source)
        config = FeatureConfig(batch_size=self.batch_size, precision=self.precision, cache=False)
        blocks = list(finite_blocks(self.loaded_, source, config, device, silent))
        read = [index for indices, _ in blocks for index in indices]
        if len(read) < len(source):
            first = min(set(range(len(source))) - set(read))
            raise UserError(
                f"{source.where(first)} cannot be read ({len(source) - len(read)} of {len(source)} images cannot); "
                "leave such images out, or use `byol embed`, which passes over them."
            )
        vectors: NDArray[np.float32] = torch.cat([block for _, block in blocks]).numpy()
        return vectors

    @property
    def _n_features_out(self) -> int:
        """Length of an embedding, for `get_feature_names_out`."""
        return int(self.width_)

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit, tags.no_validation = False, True
        tags.input_tags.two_d_array = False
        return tags

    @staticmethod
    def _source(images: Any, encoder: LoadedEncoder) -> Source:
        """Images, read as the encoder's own were."""
        with opened_as(encoder):
            return as_source(images, input_channels(encoder))

    def _open(self) -> LoadedEncoder:
        return self.encoder if isinstance(self.encoder, LoadedEncoder) else open_encoder(str(self.encoder))

    def _prepare(self, encoder: LoadedEncoder) -> None:
        side = encoder.transform.image_size
        with torch.no_grad():
            self.width_ = features_of(encoder.module.cpu(), torch.zeros(1, input_channels(encoder), side, side)).shape[
                1
            ]
        self.loaded_ = encoder


def as_source(images: Any, channels: int) -> Source:
    """What a program holds as images, as a source of images with so many channels.

    Raises:
        UserError: it is none of the kinds that `Embedder` lists.
    """
    if isinstance(images, np.ndarray | Tensor):
        return TensorSource(_channels_first(torch.as_tensor(images), channels))
    if isinstance(images, Source | str | Path):
        return open_source(images, channels)
    items = list(images) if isinstance(images, Sequence) else []
    if items and all(isinstance(item, Image.Image) for item in items):
        return PictureSource(items, channels)
    if items and all(isinstance(item, str | Path) for item in items):
        return file_source(f"{len(items)} files", [str(item) for item in items], channels=channels)
    raise UserError(
        f"images of type {type(images).__name__} were given; give a path, a list of paths or of PIL images, or an "
        "array (N, C, H, W) or (N, H, W, C)."
    )


def _channels_first(images: Tensor, channels: int) -> Tensor:
    if images.ndim == 4 and images.shape[1] != channels and images.shape[3] == channels:
        return images.permute(0, 3, 1, 2).contiguous()
    return images


class PictureSource(Source):
    """PIL images of any sizes, in gray or in color."""

    def __init__(self, pictures: Sequence[Image.Image], channels: int) -> None:
        if channels not in (1, 3):
            raise UserError(f"PIL images have 1 or 3 channels, but the encoder takes {channels}; give an array.")
        self.name, self.channels = f"{len(pictures)} pictures", channels
        self.labels, self.classes = None, None
        self._pictures = pictures

    def __len__(self) -> int:
        return len(self._pictures)

    def read(self, index: int) -> bytes:
        raise NotImplementedError("images in memory have no encoded file; use image()")

    def where(self, index: int) -> str:
        return f"picture {index}"

    def image(self, index: int, shrink_to: int | None = None) -> Tensor:
        pixels = np.array(self._pictures[index].convert("RGB" if self.channels == 3 else "L"))
        return torch.from_numpy(pixels).view(*pixels.shape[:2], self.channels).permute(2, 0, 1)

    def header(self, index: int) -> Header:
        width, height = self._pictures[index].size
        return Header(height=height, width=width, channels=self.channels, depth="8-bit")

    def fingerprint(self) -> str:
        return digest(picture.tobytes() for picture in self._pictures)
