"""How the verbs that look at data open it: a folder of several parts, other labels, a single image."""

from pathlib import Path
from typing import TYPE_CHECKING

from byol.errors import UserError

if TYPE_CHECKING:
    from byol.data.sources.open import Source
    from byol.encoders.load import LoadedEncoder


def open_labeled(data: str, encoder: "LoadedEncoder", labels: str | None = None) -> "Source":
    """Data as the encoder's own were read, with the labels of a CSV file where one is given.

    Raises:
        UserError: no such data, or a file of labels that names none of the images.
    """
    from byol.data.labeling import Labeling, label_images
    from byol.data.reading import opened_as
    from byol.data.sources.open import open_source
    from byol.evals.evaluation import input_channels

    with opened_as(encoder):
        source = open_source(data, channels=input_channels(encoder))
    return label_images(source, None, Labeling(labels=labels)).source


def open_images(place: str, encoder: "LoadedEncoder") -> "Source":
    """Data as the encoder's own were read, or a single image.

    Raises:
        UserError: there is no such image or data.
    """
    from byol.data.formats.registry import image_suffixes
    from byol.data.reading import opened_as
    from byol.data.sources.files import file_source
    from byol.data.sources.open import open_source
    from byol.evals.evaluation import input_channels

    path, channels = Path(place).expanduser(), input_channels(encoder)
    with opened_as(encoder):
        if path.is_file() and path.suffix.lower() in image_suffixes():
            return file_source(place, [str(path)], channels=channels)
        return open_source(place, channels=channels)


def check_apart(out: Path, data: str) -> None:
    """See that a file of vectors does not lie in a folder of images: one with Parquet files is opened as these.

    Raises:
        UserError: it does.
    """
    folder = Path(data).expanduser()
    if folder.is_dir() and out.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"{out} lies among the images, which would be taken for a table then; give another --out.")
