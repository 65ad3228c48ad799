"""What an encoder knows of each place of an image, before it becomes one vector: patch tokens, or the last map."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from byol.errors import UserError


@dataclass(frozen=True)
class PatchShape:
    """What `VectorAndPatches` gives of one image."""

    features: int
    """Length of the vector."""
    rows: int
    """Patches from top to bottom."""
    columns: int
    """Patches from left to right."""
    channels: int
    """Features of a patch, mostly as many as the vector has."""

    @property
    def values(self) -> int:
        """Values of an image, the vector's and the patches'."""
        return self.features + self.rows * self.columns * self.channels

    def split(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """(N, values) -> vectors (N, features) and patches (N, rows, columns, channels), views of the same memory."""
        patches = values[:, self.features :]
        return values[:, : self.features], patches.reshape(len(values), self.rows, self.columns, self.channels)


class VectorAndPatches(nn.Module):
    """An encoder whose features are followed by those of its patches: (N, C, S, S) -> (N, D + h * w * E).

    Patches of a transformer are its tokens after the last normalization, without class and register tokens; those of
    a convolutional network are the places of its last map. They are in rows from the top, from left to right.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images: Tensor) -> Tensor:
        """Vector and patches of each image, one after the other."""
        vectors, patches = vectors_and_patches(self.encoder, images)
        return torch.cat([vectors.flatten(1), patches.flatten(1)], dim=1)

    def shape(self, channels: int, size: int, name: str) -> PatchShape:
        """What it gives of images of a size.

        Args:
            channels: of the images.
            size: side of the images, in pixels.
            name: of the encoder, for the error.

        Raises:
            UserError: the encoder has no patches.
        """
        training = self.training
        try:
            device = next(iter(self.encoder.parameters()), torch.empty(0)).device
            with torch.no_grad():
                image = torch.zeros(1, channels, size, size, device=device)
                vectors, patches = vectors_and_patches(self.eval().encoder, image)
        except (AttributeError, NoPatches) as error:
            raise UserError(
                f"The encoder {name} has no features of patches; leave --patches out, or give a convolutional encoder "
                "or a vision transformer of timm."
            ) from error
        finally:
            self.train(training)
        return PatchShape(vectors.flatten(1).shape[1], *patches.shape[1:])


class NoPatches(ValueError):  # noqa: N818  (it names what is missing)
    """The last features of an encoder are no grid."""


def vectors_and_patches(encoder: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Features (N, D) and those of patches (N, h, w, E) of normalized images, in one pass.

    Args:
        encoder: of timm: its `forward_head` makes the features from what `forward_features` gives.
        images: (N, C, S, S).

    Raises:
        AttributeError: it has no such parts.
        NoPatches: what they give is no grid of patches.
    """
    last: Tensor = encoder.forward_features(images)  # type: ignore[operator]
    if not isinstance(last, Tensor):
        raise NoPatches
    return encoder.forward_head(last), _patches(encoder, last)  # type: ignore[operator]


def _patches(encoder: nn.Module, last: Tensor) -> Tensor:
    """What `forward_features` gave, as (N, h, w, E)."""
    if last.ndim == 4:
        return last if getattr(encoder, "output_fmt", "NCHW") == "NHWC" else last.permute(0, 2, 3, 1)
    grid = getattr(getattr(encoder, "patch_embed", None), "grid_size", None)
    if last.ndim != 3 or grid is None:
        raise NoPatches
    rows, columns = grid
    tokens = last[:, int(getattr(encoder, "num_prefix_tokens", 0)) :]
    if tokens.shape[1] != rows * columns:
        raise NoPatches
    return tokens.reshape(len(tokens), rows, columns, tokens.shape[2])
