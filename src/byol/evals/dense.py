"""Shared by the dense tasks: an encoder's feature maps, dilated if wanted, and images with a map or boxes each."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
from timm.models.resnet import ResNet
from torch import Tensor, nn

from byol.data.formats.header import Header
from byol.data.order import EpochOrder
from byol.data.prefetch import prefetch
from byol.data.sources.wrapped import WrappedSource
from byol.encoders.load import LoadedEncoder
from byol.errors import BadImage, UserError
from byol.evals.evaluation import input_channels
from byol.evals.patch_maps import PatchMaps
from byol.runtime.device import cores
from byol.runtime.seeds import generator_of
from byol.runtime.threads import single_threaded_pool

IGNORE = 255
"""Value of mask pixels that are ignored, as in Pascal VOC."""


class DenseSource(WrappedSource):
    """A wrapped source with an annotation for each image, so no image may be skipped."""

    def image(self, index: int, shrink_to: int | None = None) -> Tensor:
        """The base's image; `UserError` if it cannot be read."""
        with self._readable(index):
            return super().image(index, shrink_to)

    def header(self, index: int) -> Header:
        """The base's header; `UserError` if it cannot be read."""
        with self._readable(index):
            return super().header(index)

    @contextmanager
    def _readable(self, index: int) -> Iterator[None]:
        try:
            yield
        except BadImage as error:
            raise UserError(f"{self.where(index)} cannot be read ({error}); repair or remove it.") from error


class MapSource(DenseSource):
    """Images with a map of the same height and width each: classes, or depths."""

    @abstractmethod
    def map(self, index: int) -> Tensor:
        """(H, W): int64 classes with `IGNORE`, or float32 depths with 0 where unknown."""

    def pair(self, index: int) -> tuple[Tensor, Tensor]:
        """One image (C, H, W) float32 in [0, 1], and its map.

        Raises:
            UserError: the map has another size than the image.
        """
        image, answer = self.image(index), self.map(index)
        if image.shape[1:] != answer.shape:
            raise UserError(
                f"{self.where(index)} is {image.shape[1]} x {image.shape[2]} px, but its map is {answer.shape[0]} x "
                f"{answer.shape[1]}; give maps of the images' size."
            )
        return (image.float() / 255 if image.dtype == torch.uint8 else image.float()), answer


Made = TypeVar("Made")


def in_threads(make: Callable[[int], Made], numbers: Sequence[int], batch: int) -> Iterator[list[Made]]:
    """`make` of each number, batch by batch, two batches ahead in threads."""
    groups = [numbers[start : start + batch] for start in range(0, len(numbers), batch)]
    with single_threaded_pool(cores(), "decode") as pool:

        def begin(group: Sequence[int]) -> Callable[[], list[Made]]:
            futures = [pool.submit(make, number) for number in group]
            return lambda: [future.result() for future in futures]

        yield from prefetch(begin, groups, ahead=2)


def order(images: int, count: int, seed: int) -> list[int]:
    """Numbers of images for `count` draws, epoch after epoch."""
    return EpochOrder(images, seed).take(0, count).tolist()


def uniforms(seed: int, number: int, count: int) -> list[float]:
    """Random numbers in [0, 1) for one training image, a pure function of the seed and its position in the run."""
    return torch.rand(count, generator=generator_of(seed, "dense", number)).tolist()


class Maps(nn.Module):
    """An encoder's last feature map: (N, C, H, W) -> (N, D, h, w); the features of a transformer's patches.

    Args:
        encoder: is copied.
        frozen: keep its weights and its batch-norm statistics.
        dilate: keep the resolution of the second-to-last stage in the last one, with dilated convolutions (output
            stride 16 for a standard ResNet).

    Raises:
        UserError: an encoder without feature maps, or one that cannot be dilated.
    """

    def __init__(self, encoder: LoadedEncoder, *, frozen: bool, dilate: bool) -> None:
        super().__init__()
        self.encoder = PatchMaps.of(encoder) or encoder.copy()
        self.frozen = frozen
        if dilate:
            dilate_last_stage(self.encoder, encoder.name)
        if frozen:
            self.encoder.requires_grad_(False)
        forward = getattr(self.encoder, "forward_features", None)
        size = encoder.transform.image_size
        probe = torch.zeros(1, input_channels(encoder), size, size)
        with torch.no_grad():
            answer = self.encoder.eval().forward_features(probe) if callable(forward) else None  # type: ignore[operator]
        if not isinstance(answer, Tensor) or answer.ndim != 4:
            raise UserError(
                f"The encoder {encoder.name} has no feature maps (N, D, h, w); give a convolutional one, or a vision "
                "transformer that timm builds for images of any size."
            )
        self.channels_last = getattr(self.encoder, "output_fmt", "NCHW") == "NHWC"  # Swin and its like
        self.features = answer.shape[-1 if self.channels_last else 1]

    def train(self, mode: bool = True) -> "Maps":
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            answer: Tensor = self.encoder.forward_features(images)  # type: ignore[operator]
        return answer.permute(0, 3, 1, 2) if self.channels_last else answer


def dilate_last_stage(encoder: nn.Module, name: str) -> None:
    """Give the 3x3 convolutions of a ResNet's last stage stride 1 and dilation 2 (arXiv:2006.07733, Appendix D.4).

    Raises:
        UserError: the encoder is no plain ResNet.
    """
    if not isinstance(encoder, ResNet):
        raise UserError(f"The encoder {name} is no ResNet, so its last stage cannot be dilated; give --no-dilate.")
    for layer in encoder.layer4.modules():
        if isinstance(layer, nn.Conv2d):
            layer.stride = (1, 1)
            if layer.kernel_size == (3, 3):
                layer.dilation, layer.padding = (2, 2), (2, 2)
        elif isinstance(layer, nn.AvgPool2d) and layer.kernel_size != 1:
            raise UserError(f"The encoder {name} pools inside its last stage; give --no-dilate.")
