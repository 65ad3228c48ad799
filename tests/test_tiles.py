"""Tiles: values worked by hand."""

import pytest
import torch

from byol.config.run import PretrainConfig
from byol.config.values import replace
from byol.errors import UserError
from byol.methods.tiles import check_tiles, cut, grid, pick, standardized

IMAGE = torch.arange(36.0).view(1, 1, 6, 6)
"""Row r, column c is 6 r + c."""


def test_numbers_are_picked_evenly() -> None:
    assert pick(torch.tensor([0.0, 0.24, 0.25, 0.74, 0.999999]), 4).tolist() == [0, 0, 1, 2, 3]
    assert pick(torch.tensor([1.0]), 4).tolist() == [3], "rounding never leads outside"


def test_tiles_are_cut_where_they_are_said_to_be() -> None:
    images = torch.cat([IMAGE, 100 + IMAGE]).expand(2, 2, 6, 6) * torch.tensor([1.0, -1]).view(1, 2, 1, 1)
    tops, lefts = torch.tensor([[0, 3], [1, 9]]), torch.tensor([[2, 0], [4, -1]])
    tiles = cut(images, tops, lefts, 2)
    assert tiles.shape == (2, 2, 2, 2, 2)
    assert tiles[0, 0, 0].tolist() == [[2, 3], [8, 9]]
    assert tiles[0, 1, 1].tolist() == [[-18, -19], [-24, -25]]
    assert tiles[1, 0, 0].tolist() == [[110, 111], [116, 117]]
    assert tiles[1, 1, 0].tolist() == [[124, 125], [130, 131]], "moved back inside"


def test_a_grid_has_a_tile_in_each_cell_with_its_place_drawn() -> None:
    places = torch.tensor([[0.0, 0.0, 0.9, 0.0, 0.0, 0.5, 0.0, 0.9]])  # rows of four tiles, then columns
    tiles = grid(IMAGE, 2, 2, places)[0, :, 0]
    assert [tile[0, 0].item() for tile in tiles] == [0, 4, 24, 22]
    assert tiles[1].tolist() == [[4, 5], [10, 11]]


def test_a_standardized_tile_has_mean_0_and_spread_1_and_a_flat_one_is_0() -> None:
    tiles = torch.stack([torch.tensor([[1.0, 3.0], [3.0, 1.0]]), torch.full((2, 2), 7.0)])
    assert standardized(tiles).tolist() == [[[-1, 1], [1, -1]], [[0, 0], [0, 0]]]


def test_an_encoder_that_takes_no_tiles_is_named() -> None:
    config = replace(PretrainConfig(), method="rotation", encoder="vit_tiny_patch16_224")
    with pytest.raises(UserError, match=r"^The method rotation passes tiles of 21 px .* give a larger --image-size"):
        check_tiles(config, 21)
    check_tiles(replace(config, encoder="resnet18"), 21)
    with pytest.raises(UserError, match="less than 4 px"):
        check_tiles(replace(config, encoder="resnet18"), 3)
