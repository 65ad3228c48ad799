"""Images that cannot be read are replaced by the next ones that can."""

import pytest
import torch
from torch import Tensor

from byol.data.readable import ReadableImages
from byol.data.sources.tensor import TensorSource
from byol.errors import BadImage, UserError


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
