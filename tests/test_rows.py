"""Crops of a batch, brought together by many threads."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from byol.data.crop_buffer import CropBuffer


@settings(max_examples=30, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=24), st.randoms())
def test_rows_are_the_crops_stacked_whoever_writes_them(deep: list[bool], chance: object) -> None:
    """Bytes where all are bytes; else floats, where a byte is its 255th."""
    generator = torch.Generator().manual_seed(len(deep))
    crops = [torch.randint(0, 256, (2, 5, 5), dtype=torch.uint8, generator=generator) for _ in deep]
    given_ = [crop.float() / 255 if is_deep else crop for crop, is_deep in zip(crops, deep, strict=True)]
    order = list(range(len(deep)))
    chance.shuffle(order)  # type: ignore[attr-defined]
    rows = CropBuffer((len(deep), 2, 5, 5), pinned=False)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda row: rows.put(row, given_[row]), order))
    found, expected = rows.together(), torch.stack(crops)
    if any(deep):
        torch.testing.assert_close(found, expected.float() / 255, atol=1e-7, rtol=0)
    else:
        assert found.dtype == torch.uint8
        assert torch.equal(found, expected)


def test_rows_have_one_shape() -> None:
    with pytest.raises(RuntimeError, match=r"shape|size"):
        CropBuffer((2, 1, 4, 4), pinned=False).put(0, torch.zeros(3, 4, 4))
