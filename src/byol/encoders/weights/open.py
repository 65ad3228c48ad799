"""Open a file of weights: what it is, which encoder its weights belong to, and the weights themselves."""

import dataclasses
import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from byol.config.encoder import EncoderSpec
from byol.encoders.names import timm_normalization
from byol.encoders.weights.architecture import completed, find_architecture
from byol.encoders.weights.contents import BESIDE, CONVERT, Contents, read_contents
from byol.encoders.weights.fit import Fitted, fit
from byol.encoders.weights.found import Found
from byol.encoders.weights.named import find_named
from byol.encoders.weights.table import LAYOUTS
from byol.errors import UserError


@dataclass(frozen=True, kw_only=True)
class WeightsFile:
    """A file of weights that another program wrote."""

    path: Path
    container: str
    found: Found
    spec: EncoderSpec
    """The encoder that the weights belong to, with the mean and deviation that they were trained with."""
    assumed: tuple[str, ...]
    """What is taken for given because neither the file nor its layout says it."""

    def fitted(self, spec: EncoderSpec | None = None) -> Fitted:
        """The weights for an encoder; by default for the one that they belong to.

        Raises:
            UserError: they do not fit it.
        """
        return fit(self.found.weights, spec or self.spec, str(self.path))

    @property
    def left_out(self) -> tuple[str, ...]:
        """What else the file holds, a head among the weights first."""
        return (*((self.found.head,) if self.fitted().heads else ()), *self.found.left_out)


def recognize(path: str | Path, encoder: EncoderSpec | None = None) -> tuple[Contents, Found]:
    """What a file is, and where its encoder lies.

    Args:
        path: the file, or a folder with timm's `model.safetensors` and `config.json`.
        encoder: the encoder, where the user names it: its weights are found by their names too.

    Raises:
        UserError: it cannot be read safely, or holds no encoder that is recognized.
    """
    path = Path(path)
    contents = read_contents(path) if path.is_dir() else _contents(path, _stamps(path))
    found = next((found for layout in LAYOUTS if (found := layout(contents)) is not None), None)
    if found is None and encoder is not None:
        found = find_named(contents, encoder)
    if found is None:
        keys = ", ".join(list(contents.top)[:4]) or "nothing"
        sought = "ResNet or vision transformer that is recognized" if encoder is None else f"{encoder.name}"
        name = "name another network by --encoder; or, " if encoder is None else ""
        raise UserError(
            f"{contents.path} holds no {sought} (it begins with {keys}; see docs/weights.md for the layouts); {name}"
            f"{CONVERT}."
        )
    return contents, found


@lru_cache(maxsize=1)
def _contents(path: Path, stamps: tuple[tuple[int, int], ...]) -> Contents:
    """What a file holds, kept for the several places of a run's start that ask; `forget` drops it."""
    return read_contents(path)


def _stamps(path: Path) -> tuple[tuple[int, int], ...]:
    """Sizes and times of a file and of those beside it that are read too, by which a change is noticed."""
    stamps = []
    for each in (path, *(path.with_name(name) for name in BESIDE)):
        try:
            about = each.stat()
            stamps.append((about.st_size, about.st_mtime_ns))
        except OSError:  # where it is the file itself, reading says what is wrong
            stamps.append((0, 0))
    return tuple(stamps)


def forget() -> None:
    """Drop what was read last: its memory."""
    _contents.cache_clear()


def open_weights(path: str | Path, encoder: EncoderSpec | None = None) -> WeightsFile:
    """A file of weights, and the encoder that they belong to.

    Args:
        path: the file, or a folder with timm's `model.safetensors` and `config.json`.
        encoder: the encoder, where the user names it. Names and shapes tell more of one of that name (its width and
            stem); by default they alone decide.

    Raises:
        UserError: as `recognize`; or the encoder is not told by the weights, or they do not fit it.
    """
    contents, found = recognize(path, encoder)
    told = find_architecture(found.weights, found.stated)
    alike = told is not None and (encoder is None or encoder.architecture == told.architecture)
    spec = told if alike or encoder is None else completed(encoder, found.stated)
    if spec is None:
        keys = ", ".join(list(found.weights)[:3])
        raise UserError(
            f"{contents.path} ({found.layout}) does not show which network its weights belong to (they begin with "
            f"{keys}); name it by --encoder."
        )
    assumed = []
    if found.stated.normalization is None and found.stated.spec is None:
        known = None if alike else timm_normalization(spec.architecture)
        if known is not None:
            spec = dataclasses.replace(spec, mean=known.mean, std=known.std)
            assumed.append(f"mean and std, those of timm's {spec.architecture}")
        else:
            assumed.append("mean and std, those of ImageNet" if spec.channels == 3 else "mean and std")
    if spec.stem == "small" and alike and found.stated.stem is None and found.stated.spec is None:
        assumed.append("stride 1 of the 3x3 first layer (for stride 2 give --encoder.stem stride2)")
    file = WeightsFile(path=contents.path, container=contents.container, found=found, spec=spec, assumed=tuple(assumed))
    file.fitted()
    return file


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def for_channels(spec: EncoderSpec, channels: int) -> EncoderSpec:
    """The same encoder for images of so many channels; for one, with the average of the mean and the deviation."""
    if channels == spec.channels:
        return spec
    if channels == 1:
        mean, std = (sum(values) / len(values) for values in (spec.mean, spec.std))
        return dataclasses.replace(spec, mean=(mean,), std=(std,))
    return spec.for_channels(channels)
