"""Images that cannot be read are replaced by the next ones that can."""

import pytest
import torch
from torch import Tensor

from byol.data import readable
from byol.data.readable import ReadableImages
from byol.data.sources.tensor import TensorSource
from byol.errors import BadImage, UnreachableImage, UserError


class Damaged(TensorSource):
    """Images whose every value is their number, some of them damaged."""

    def __init__(self, count: int, damaged: set[int]) -> None:
        super().__init__(torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1), name="damaged")
        self.damaged, self.asked = damaged, list[tuple[int, int | None]]()

    def image(self, index: int, shrink_to: int | None = None) -> Tensor:
        self.asked.append((index, shrink_to))
        if index in self.damaged:
            raise BadImage("torn")
        return super().image(index)


def test_the_next_readable_image_is_taken_and_each_bad_one_told_once() -> None:
    told: list[str] = []
    source = Damaged(6, {2, 3, 5})
    images = ReadableImages(source, told.append)
    taken = [images.image(index) for index in range(6)]
    assert [number for number, _ in taken] == [0, 1, 4, 4, 4, 0], "after the last image comes the first"
    assert [int(image) for _, image in taken] == [0, 1, 4, 4, 4, 0]
    assert told == [f"damaged image {number}\ttorn" for number in (2, 3, 5)]
    source.asked.clear()
    assert images.image(2, 24)[0] == 4
    assert source.asked == [(4, 24)], "a damaged image is read once"


def test_a_source_without_a_readable_image_is_the_users_to_mend() -> None:
    images = ReadableImages(Damaged(3, {0, 1, 2}))
    with pytest.raises(UserError, match="No image of damaged can be read"):
        images.image(1)


class Away(Damaged):
    """Images that the system does not deliver, for so many readings each."""

    def __init__(self, count: int, away: dict[int, int]) -> None:
        super().__init__(count, set())
        self.away = away

    def image(self, index: int, shrink_to: int | None = None) -> Tensor:
        if self.away.get(index, 0) > 0:
            self.away[index] -= 1
            raise UnreachableImage("cannot be read: Stale file handle")
        return super().image(index, shrink_to)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    taken: list[float] = []
    monkeypatch.setattr(readable.time, "sleep", taken.append)
    return taken


def test_what_the_system_does_not_deliver_is_asked_for_again(pauses: list[float]) -> None:
    told: list[str] = []
    images = ReadableImages(Away(6, {2: 2}), told.append)
    assert images.image(2)[0] == 2
    assert pauses == [0.1, 0.5]
    assert told == []


def test_a_file_that_is_gone_is_replaced_this_time_and_asked_for_next_time(pauses: list[float]) -> None:
    told: list[str] = []
    source = Away(6, {2: 4})
    images = ReadableImages(source, told.append)
    assert images.image(2)[0] == 3
    assert told == ["damaged image 2\tcannot be read: Stale file handle"]
    assert images.image(2)[0] == 2, "it is back"


def test_a_disk_that_is_gone_is_no_bad_image(pauses: list[float]) -> None:
    told: list[str] = []
    images = ReadableImages(Away(50, dict.fromkeys(range(50), 99)), told.append)
    with pytest.raises(UserError, match="8 images of damaged in a row cannot be read: Stale file handle; see whether"):
        images.image(7)
    assert told == []
    assert len(pauses) == 3, "only the first is waited for"
