"""The picture of views: where everything lies in it, and that it shows what training sees."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from byol.augment.apply import apply_operations
from byol.augment.draw import draw_view
from byol.augment.normalize import as_float
from byol.cli.main import main
from byol.cli.view_grid import HEAD, write_views
from byol.config.run import PretrainConfig
from byol.config.values import replace
from byol.config.views import ViewConfig
from byol.data.crop import crop_one
from byol.data.sources.open import TensorSource, open_source
from byol.errors import UserError
from byol.recipes.small import small_views
from byol.runtime.seeds import generator_of
from conftest import WHOLE_IMAGES


def pictures(path: Path, rows: int, side: int) -> NDArray[np.uint8]:
    """The pictures of a grid, (rows, 9, side, side, 3), by looking for what is not the white between them."""
    image = np.asarray(Image.open(path))[HEAD:]
    white = (image == 255).all(-1)
    tops = [i for i in range(1, len(image)) if white[i - 1].all() and not white[i].all()]
    lefts = [i for i in range(1, image.shape[1]) if white[:, i - 1].all() and not white[:, i].all()]
    assert (len(tops), len(lefts)) == (rows, 9)
    return np.stack([[image[t : t + side, x : x + side] for x in lefts] for t in tops])


def dark(n: int = 3, side: int = 32, channels: int = 3) -> torch.Tensor:
    """Images without white in them."""
    return torch.randint(
        1, 120, (n, channels, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(2)
    )


def test_without_augmentation_every_picture_is_the_image(tmp_path: Path) -> None:
    images = dark()
    out = tmp_path / "views.png"
    sentence = write_views(TensorSource(images), out, recipe="cifar10-cpu", count=3, image_size=32, **WHOLE_IMAGES)
    found = pictures(out, 3, 96)
    for row in range(3):
        expected = images[row].permute(1, 2, 0).numpy().repeat(3, 0).repeat(3, 1)
        for column in range(9):
            assert (found[row, column] == expected).all(), (row, column)
    assert "3 images" in sentence
    assert "32 px" in sentence


def test_shows_the_recipes_own_views(tmp_path: Path) -> None:
    images = dark()
    write_views(TensorSource(images), tmp_path / "v.png", recipe="cifar10-cpu", count=3, seed=5)
    found = pictures(tmp_path / "v.png", 3, 96)[:, :, ::4, ::4]
    views = small_views(color=0.5)
    for row in range(3):
        for number, view in enumerate((views.view1, views.view2)):
            params = draw_view(view, 4, partial(generator_of, 5, "views", row, number))
            crops = torch.stack([crop_one(images[row], params[i : i + 1], 24) for i in range(4)])
            expected = (apply_operations(as_float(crops), params) * 255).round().byte().permute(0, 2, 3, 1).numpy()
            assert (found[row, 1 + 4 * number : 5 + 4 * number] == expected).all()


def test_same_seed_same_picture(tmp_path: Path) -> None:
    contents = []
    for seed in (0, 0, 1):
        write_views(TensorSource(dark()), tmp_path / "v.png", recipe="cifar10-cpu", seed=seed)
        contents.append((tmp_path / "v.png").read_bytes())
    assert contents[0] == contents[1] != contents[2]


def test_the_two_views_differ_as_the_paper_has_it(tmp_path: Path) -> None:
    plain = {key: value for key, value in WHOLE_IMAGES.items() if "solarize" not in key}
    images = dark() + 130  # bright: solarized they are dark
    write_views(
        TensorSource(images), tmp_path / "v.png", recipe="cifar10-cpu", count=3, **plain, augment__view2__solarize=1.0
    )
    found = pictures(tmp_path / "v.png", 3, 96)
    assert (found[:, :5] >= 131).all()
    assert (found[:, 5:] <= 124).all()


@pytest.mark.parametrize("channels", [1, 4])
def test_gray_and_many_channels_are_shown(channels: int, tmp_path: Path) -> None:
    images = dark(channels=channels)
    write_views(
        TensorSource(images), tmp_path / "v.png", count=2, image_size=32, **WHOLE_IMAGES, data__range=(0.0, 1.0)
    )
    found = pictures(tmp_path / "v.png", 2, 96)[0, 3, ::3, ::3]
    for shown in range(3):
        assert (found[..., shown] == images[0, shown if channels > 1 else 0].numpy()).all()


def test_large_images_are_not_enlarged(tmp_path: Path) -> None:
    images = dark(side=150)
    write_views(TensorSource(images), tmp_path / "v.png", count=2, image_size=128)
    assert pictures(tmp_path / "v.png", 2, 128).shape == (2, 9, 128, 128, 3)


def test_command(tmp_path: Path, image_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["views", str(image_folder), "--out", str(tmp_path / "v.png"), "--count", "2", "--image-size", "16"])
    assert ended.value.code in (0, None)
    assert f"{tmp_path / 'v.png'}: 2 images" in capsys.readouterr().out
    with Image.open(tmp_path / "v.png") as picture:
        assert picture.size[0] > 9 * 96


def test_what_cannot_be_done_is_said(tmp_path: Path, image_folder: Path) -> None:
    with pytest.raises(UserError, match="--count of 1 or more"):
        write_views(image_folder, tmp_path / "v.png", count=0)
    with pytest.raises(UserError, match="no recipe"):
        write_views(image_folder, tmp_path / "v.png", recipe="none")
    with pytest.raises(UserError, match=r"Cannot write .*choose another --out"):
        write_views(image_folder, tmp_path / "nowhere" / "v.png")
    assert not list(tmp_path.iterdir())


def test_the_picture_is_not_put_among_the_images(class_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(class_folder)
    before = (class_folder / "red" / "00.png").read_bytes()
    for data, out in ((".", "views.png"), (class_folder, class_folder / "red" / "00.png")):
        with pytest.raises(UserError, match="lies among the images"):
            write_views(data, out)
    assert not (class_folder / "views.png").exists()
    assert (class_folder / "red" / "00.png").read_bytes() == before


def test_unreadable_images_are_passed_over(tmp_path: Path) -> None:
    for number in range(5):
        Image.new("RGB", (32, 32), (40, 50, 60)).save(tmp_path / f"{number}.png")
    (tmp_path / "2.png").write_bytes(b"broken")
    source = open_source(tmp_path, 3)
    assert "4 images" in write_views(source, tmp_path / "v.png", count=5)


def test_settings_reach_the_views(tmp_path: Path) -> None:
    changed = replace(PretrainConfig(), augment__view1__gray=1.0).augment.view1
    assert changed == ViewConfig(gray=1.0)
    only_gray = {**WHOLE_IMAGES, "augment__view1__gray": 1.0}
    write_views(TensorSource(dark()), tmp_path / "v.png", recipe="cifar10-cpu", count=1, **only_gray)
    found = pictures(tmp_path / "v.png", 1, 96)[0].astype(int)
    assert (found[1:5, ..., 0] == found[1:5, ..., 2]).all()
    assert (found[5:, ..., 0] != found[5:, ..., 2]).any()
