"""The embedded photographs: parts that share no pixel, labels that are right, a task of the stated difficulty."""

import pytest
import torch

from byol.data.sources import embedded
from byol.data.sources.embedded import PHOTOS, SCALES, Part, embedded_photos
from byol.data.sources.open import TensorSource, open_source
from byol.errors import UserError


@pytest.fixture(scope="module")
def parts() -> tuple[TensorSource, TensorSource]:
    return embedded_photos("train"), embedded_photos("test")


def test_seventeen_photographs_in_equal_numbers(parts: tuple[TensorSource, TensorSource]) -> None:
    for source, count in zip(parts, (600, 150), strict=True):
        assert source.images.shape == (17 * count, 3, 32, 32)
        assert source.images.dtype == torch.uint8
        assert source.classes == list(PHOTOS)
        assert source.labels is not None
        assert torch.bincount(torch.tensor(source.labels)).tolist() == [count] * 17
        assert len(set(source.labels[:100])) > 10  # not sorted by photograph


def test_the_same_every_time(parts: tuple[TensorSource, TensorSource]) -> None:
    assert embedded_photos("test").fingerprint() == parts[1].fingerprint()
    assert open_source("photos:test").fingerprint() == parts[1].fingerprint()


@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize("name", list(PHOTOS))
def test_parts_share_no_pixel(name: str, size: int) -> None:
    height, width = embedded._load(name).shape[1:]
    covered = {}
    for part in ("train", "test"):
        places = embedded._places(height, width, name, part, size)
        mask = torch.zeros(height, width, dtype=torch.bool)
        for top, left, side in places.tolist():
            assert 0 <= top <= height - side
            assert 0 <= left <= width - side
            mask[top : top + side, left : left + side] = True
        assert set(places[:, 2].tolist()) == {int(size * scale) for scale in SCALES}
        assert len(places.unique(dim=0)) == len(places)
        covered[part] = mask
    assert not (covered["train"] & covered["test"]).any()
    share = covered["test"].sum() / (covered["train"] | covered["test"]).sum()
    assert 0.2 <= share <= 0.34


def test_patches_are_pieces_of_their_photograph(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "SCALES", (1.0,))
    source = embedded_photos("test", per_photo=20)
    assert source.labels is not None
    for name in ("chelsea", "text"):
        number = source.labels.index(list(PHOTOS).index(name))
        photo = embedded._load(name)
        windows = photo.unfold(1, 32, 1).unfold(2, 32, 1)  # (3, rows, columns, 32, 32)
        same = (windows == source.images[number][:, None, None]).all(-1).all(-1).all(0)
        assert same.any()


def test_gray_photographs_have_three_equal_channels(parts: tuple[TensorSource, TensorSource]) -> None:
    images, labels = parts[1].images, torch.tensor(parts[1].labels)
    gray = {
        name
        for number, name in enumerate(PHOTOS)
        if torch.equal(images[labels == number][:, 0], images[labels == number][:, 2])
    }
    assert gray == {"brick", "camera", "coins", "grass", "gravel", "moon", "text"}


def test_raw_pixels_tell_little(parts: tuple[TensorSource, TensorSource]) -> None:
    """One neighbor among 5 labeled patches of each photograph: 0.38, spread 0.03 over 20 draws; chance is 0.06."""
    train, test = parts
    labels = torch.tensor(train.labels)
    scores = []
    for draw in range(5):
        generator = torch.Generator().manual_seed(draw)
        order = torch.randperm(len(labels), generator=generator)
        chosen = torch.cat([order[labels[order] == number][:5] for number in range(17)])
        distances = torch.cdist(test.images.flatten(1).float(), train.images[chosen].flatten(1).float())
        guessed = labels[chosen][distances.argmin(1)]
        scores.append((guessed == torch.tensor(test.labels)).float().mean())
    assert 0.3 < torch.stack(scores).mean() < 0.5


def test_other_sizes_and_numbers() -> None:
    assert embedded_photos("train", size=64, per_photo=3).images.shape == (51, 3, 64, 64)
    assert embedded_photos("test", size=20, per_photo=2).images.shape == (34, 3, 20, 20)


@pytest.mark.parametrize(
    ("part", "size", "count", "message"),
    [
        ("val", 32, None, "give 'train' or 'test'"),
        ("train", 8, None, "give 16 to 64 pixels"),
        ("train", 65, None, "give 16 to 64 pixels"),
        ("test", 32, 10**6, "astronaut has [0-9]+ in this part"),
        ("test", 32, 0, "give 1 or more"),
    ],
)
def test_wrong_requests(part: Part, size: int, count: int | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        embedded_photos(part, size, count)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PHOTOS, "astronaut", ("no_such_package", "x.png"))
    with pytest.raises(UserError, match=r"'astronaut' is not in no_such_package .*install scikit-image"):
        embedded_photos("test")
