"""Segmentation, detection and depth: tiny runs, constants, degenerate input."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from byol.data.sources.open import TensorSource
from byol.encoders.load import open_encoder
from byol.errors import UserError
from byol.evals import depth, detection, segmentation
from byol.evals.boxes import BoxSource, open_boxes
from byol.evals.dense import IGNORE, Maps
from byol.evals.depth import DepthConfig, FastUp, berhu
from byol.evals.depths import DepthSource, open_depths
from byol.evals.detection import DetectionConfig, faster_rcnn, scaled
from byol.evals.evaluation import Task
from byol.evals.masks import MaskSource, open_masks
from byol.evals.segmentation import SegmentationConfig
from byol.evals.voc import Objects
from evals_data import TINY

SEGMENT = SegmentationConfig(crop=24, scale=(0.8, 1.2), batch_size=4, steps=12, lrs=(0.05,), width=8, seeds=2)
DETECT = DetectionConfig(
    **{"longest": (32, 32), "steps": 4, "anchors": (8, 16), "pooled": 4, "regions": 16, "proposals": 8}, lr=0.01
)
DEPTH = DepthConfig(scale=1, crop=(24, 24), filters=(8, 4), steps=8, batch_size=4)


def png(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(values).save(file, "PNG")
    return file.getvalue()


def scenes(count: int = 8, side: int = 32) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Dark noise with a bright square each: images, squares as boxes, squares as masks."""
    generator = torch.Generator().manual_seed(count)
    images = torch.randint(0, 60, (count, 3, side, side), generator=generator, dtype=torch.uint8)
    masks = torch.zeros(count, side, side, dtype=torch.uint8)
    boxes = []
    for row in range(count):
        left, top = torch.randint(0, side // 2, (2,), generator=generator).tolist()
        images[row, :, top : top + 12, left : left + 12] = 220
        masks[row, top : top + 12, left : left + 12] = 1
        boxes.append([left, top, left + 12, top + 12])
    return images, torch.tensor(boxes).float(), masks


def masked(count: int = 8, masks: torch.Tensor | None = None) -> MaskSource:
    images, _, squares = scenes(count)
    blobs = [png(mask.numpy()) for mask in (squares if masks is None else masks)]
    return MaskSource(TensorSource(images, name="scenes"), blobs, ["dark", "square"], {2})


def boxed(count: int = 6, boxes: torch.Tensor | None = None) -> BoxSource:
    images, squares, _ = scenes(count)
    one, zero = torch.zeros(1, dtype=torch.long), torch.zeros(1, dtype=torch.bool)
    objects = [Objects(box[None], one, zero) for box in (squares if boxes is None else boxes)]
    return BoxSource(TensorSource(images, name="scenes"), objects, ["square"])


def deep(count: int = 8) -> DepthSource:
    images, _, squares = scenes(count)
    return DepthSource(TensorSource(images, name="scenes"), [4 - 2.0 * mask for mask in squares.float()])


# Segmentation


def test_segmentation_runs_frozen_and_not() -> None:
    encoder = open_encoder(TINY)
    for frozen in (True, False):
        result = segmentation.evaluate(Task(encoder, masked(), masked(4)), replace(SEGMENT, frozen=frozen))
        assert 0.2 < result["miou"] <= 1
        assert result["lr"] == 0.05
    assert open_encoder(TINY).fingerprint == encoder.fingerprint


def test_segmentation_chooses_its_rate_on_held_out_images() -> None:
    config = replace(SEGMENT, lrs=(1e-6, 0.05), seeds=1, steps=20)
    assert segmentation.evaluate(Task(open_encoder(TINY), masked(10), masked(4)), config)["lr"] == 0.05


def test_segmentation_constants_are_the_papers() -> None:
    """protocols.md 11 (arXiv:2006.07733, D.4)."""
    config = SegmentationConfig()
    assert (config.crop, config.scale, config.batch_size, config.steps) == (513, (0.5, 2.0), 16, 30_000)
    assert (config.weight_decay, config.width, config.seeds) == (1e-4, 256, 5)
    assert [round(drop * config.steps) for drop in config.drops] == [21_000, 27_000]
    assert np.log10(config.lrs) == pytest.approx([-3, -2.5, -2, -1.5, -1])
    assert config.left_out() == ""
    assert "1 of 5 rates" in config.quick().left_out()


def test_a_transformers_patches_are_its_map_at_any_size() -> None:
    encoder = open_encoder("random:vit_tiny_patch16_224@64")
    maps = Maps(encoder, frozen=True, dilate=False).eval()
    assert maps.features == 192
    images = torch.randn(2, 3, 64, 64)
    tokens = encoder.module.forward_features(images)[:, 1:]  # type: ignore[operator]
    torch.testing.assert_close(maps(images), tokens.transpose(1, 2).reshape(2, 192, 4, 4))
    assert maps(torch.randn(1, 3, 96, 40)).shape == (1, 192, 6, 3), "the last patch is filled up"
    result = segmentation.evaluate(Task(encoder, masked(), masked(4)), replace(SEGMENT, dilate=False, steps=2, seeds=1))
    assert 0 < result["miou"] <= 1


def test_maps_whose_features_lie_last_are_turned() -> None:
    encoder = open_encoder("random:swin_tiny_patch4_window7_224@64")
    maps = Maps(encoder, frozen=True, dilate=False).eval()
    images = torch.randn(2, 3, 64, 64)
    assert maps.features == 768
    torch.testing.assert_close(maps(images).mean((2, 3)), encoder.module(images))


@pytest.mark.parametrize(("name", "stride"), [("resnet18@standard/64", 16), ("resnet50@standard/x0.125/64", 16)])
def test_the_last_stage_is_dilated(name: str, stride: int) -> None:
    """D.4: stride 16, and the same weights."""
    maps = Maps(open_encoder(f"random:{name}"), frozen=True, dilate=True)
    assert maps(torch.zeros(1, 3, 64, 64)).shape[2:] == (64 // stride, 64 // stride)
    assert {c.dilation for c in maps.encoder.layer4.modules() if getattr(c, "kernel_size", 0) == (3, 3)} == {(2, 2)}


def test_a_frozen_encoder_keeps_its_statistics() -> None:
    maps = Maps(open_encoder(TINY), frozen=True, dilate=False).train()
    before = {key: value.clone() for key, value in maps.state_dict().items()}
    answer = maps(torch.rand(4, 3, 16, 16))
    assert not answer.requires_grad
    assert all(torch.equal(value, before[key]) for key, value in maps.state_dict().items())


def test_masks_of_another_size_and_wrong_numbers() -> None:
    encoder = open_encoder(TINY)
    with pytest.raises(UserError, match="its map is 16 x 16"):
        segmentation.evaluate(Task(encoder, masked(4, torch.zeros(4, 16, 16, dtype=torch.uint8)), masked(2)), SEGMENT)
    with pytest.raises(UserError, match="has the number 7"):
        segmentation.evaluate(Task(encoder, masked(4), masked(4, torch.full((4, 32, 32), 7).byte())), SEGMENT)
    with pytest.raises(UserError, match="open both with open_masks"):
        segmentation.evaluate(Task(encoder, TensorSource(scenes()[0]), masked()), SEGMENT)
    with pytest.raises(UserError, match="no weights to train"):
        segmentation.evaluate(Task(open_encoder("pixels"), masked(), masked()), SEGMENT)


def test_an_image_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    images, _, masks = scenes(2)
    for folder, values in (("images", images.permute(0, 2, 3, 1)), ("masks", masks)):
        (tmp_path / folder).mkdir()
        for number in range(2):
            (tmp_path / folder / f"{number}.png").write_bytes(png(values[number].numpy()))
    (tmp_path / "classes.txt").write_text("dark\nsquare\nvoid\n")
    source = open_masks(tmp_path)
    torn = tmp_path / "images" / "1.png"
    torn.write_bytes(torn.read_bytes()[:200])
    with pytest.raises(UserError, match=r"images/1.png cannot be read \(.*truncated.*\); repair or remove it"):
        segmentation.evaluate(Task(open_encoder(TINY), source, source), SEGMENT)
    torn.write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"images/1.png cannot be read"):
        source.header(1)


def test_unlabeled_pixels_become_ignored_and_count_nowhere() -> None:
    source = masked(2, torch.full((2, 32, 32), 2, dtype=torch.uint8))
    assert source.map(0).unique().tolist() == [IGNORE]


def test_camvid_opens(data_folder: Path) -> None:
    source = open_masks(data_folder / "camvid" / "val.parquet")
    assert (len(source), len(source.classes or [])) == (101, 11)
    image, mask = source.pair(0)
    assert image.shape[1:] == mask.shape
    assert set(mask.unique().tolist()) <= {*range(11), IGNORE}


def test_mask_parquet_and_folder(tmp_path: Path) -> None:
    images, _, masks = scenes(2)
    blobs = [png(image.permute(1, 2, 0).numpy()) for image in images]
    table = pa.table({"image": blobs, "mask": [png(mask.numpy()) for mask in masks]})
    names = json.dumps(["dark", "square", "unlabeled"])
    pq.write_table(table.replace_schema_metadata({"classes": names}), tmp_path / "a.parquet")
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    for number in range(2):
        (tmp_path / "images" / f"{number}.png").write_bytes(blobs[number])
        (tmp_path / "masks" / f"{number}.png").write_bytes(png(masks[number].numpy()))
    (tmp_path / "classes.txt").write_text("dark\nsquare\nvoid\n")
    for source in (open_masks(tmp_path / "a.parquet"), open_masks(tmp_path)):
        assert source.classes == ["dark", "square"]
        assert torch.equal(source.map(1), masks[1].long())
    (tmp_path / "masks" / "1.png").unlink()
    with pytest.raises(UserError, match="There is no mask"):
        open_masks(tmp_path)


# Detection


def test_detection_runs_frozen_and_not() -> None:
    for frozen in (True, False):
        result = detection.evaluate(Task(open_encoder(TINY), boxed(), boxed(3)), replace(DETECT, frozen=frozen))
        assert set(result) == {"ap50", "ap50_11"}
        assert 0 <= result["ap50"] <= 1


def test_detection_finds_squares_after_some_steps() -> None:
    config = replace(DETECT, steps=120, lr=0.005, batch_size=4)
    assert detection.evaluate(Task(open_encoder(TINY), boxed(16), boxed(5)), config)["ap50"] > 0.3


def test_detection_constants_are_the_papers() -> None:
    """protocols.md 12 (D.5)."""
    config = DetectionConfig()
    assert (config.longest, config.steps, config.lr) == ((480, 1024), 1_500_000, 1e-3)
    assert [round(drop * config.steps) for drop in config.drops] == [1_000_000, 1_200_000]
    assert config.left_out() == ""


def test_images_keep_the_size_they_are_given() -> None:
    """torchvision would enlarge them to 800 px on its own."""
    model = faster_rcnn(open_encoder(TINY), 1, DETECT).eval()
    images, _ = model.transform([torch.rand(3, 32, 20)])
    assert images.tensors.shape[2:] == (32, 32)  # padded to a multiple of 32, not enlarged
    image, factor = scaled(torch.zeros(3, 100, 50), (480, 1024))
    assert (image.shape[1:], factor) == ((480, 240), 4.8)


@pytest.mark.parametrize("box", [[-1.0, 0, 5, 5], [0, 0, 33, 5], [5, 5, 5, 9], [float("nan"), 0, 4, 4]])
def test_boxes_out_of_the_image(box: list[float]) -> None:
    with pytest.raises(UserError, match="boxes must lie in the image"):
        detection.evaluate(Task(open_encoder(TINY), boxed(2), boxed(1, torch.tensor([box]))), DETECT)


def test_detection_needs_boxes_and_a_resnet() -> None:
    with pytest.raises(UserError, match="open both with open_boxes"):
        detection.evaluate(Task(open_encoder(TINY), TensorSource(scenes()[0]), boxed()), DETECT)
    with pytest.raises(UserError, match="is no ResNet"):
        detection.evaluate(Task(open_encoder("random:mobilenetv3_small_050@32"), boxed(), boxed()), DETECT)


def voc_folder(folder: Path, parts: tuple[str, ...]) -> None:
    """A VOC folder with one image per part: a car, and a difficult dog."""
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / name).mkdir(parents=True)
    item = "<object><name>{}</name><difficult>{}</difficult><bndbox>{}</bndbox></object>"
    edges = "<xmin>1</xmin><ymin>3</ymin><xmax>10</xmax><ymax>12</ymax>"
    for part in parts:
        Image.new("RGB", (40, 30)).save(folder / "JPEGImages" / f"{part}0.jpg")
        objects = item.format("car", 0, edges) + item.format("dog", 1, edges)
        (folder / "Annotations" / f"{part}0.xml").write_text(f"<annotation>{objects}</annotation>")
        (folder / "ImageSets" / "Main" / f"{part}.txt").write_text(f"{part}0\n")


def test_voc_boxes_count_from_one_and_include_their_last_pixel(tmp_path: Path) -> None:
    voc_folder(tmp_path, ("train",))
    source = open_boxes(f"{tmp_path}:train")
    assert source.objects[0].boxes[0].tolist() == [0, 2, 10, 12]
    assert source.objects[0].difficult.tolist() == [False, True]
    source.check()
    with pytest.raises(UserError, match=r"nowhere\.txt cannot be read"):
        open_boxes(f"{tmp_path}:nowhere")


def test_tiny_imagenets_boxes_lie_in_their_images(data_folder: Path) -> None:
    source = open_boxes(data_folder / "tiny-imagenet-100" / "val.parquet").subset(range(0, 5000, 50))
    source.check()
    assert len(source.classes or []) == 100


# Depth


def test_depth_runs_frozen_and_not() -> None:
    for frozen in (True, False):
        result = depth.evaluate(Task(open_encoder(TINY), deep(), deep(4)), replace(DEPTH, frozen=frozen))
        assert list(result) == ["below_1.25", "below_1.25^2", "below_1.25^3", "rms", "rel"]
        assert np.isfinite(list(result.values())).all()


def test_the_stereo_picture() -> None:
    train, test = open_depths("motorcycle:train"), open_depths("motorcycle:test")
    assert train.fingerprint() != test.fingerprint()
    known = torch.cat([train.map(index)[train.map(index) > 0] for index in range(len(train))])
    assert 1.5 < known.min() < known.max() < 6  # meters, in a garage
    config = replace(DEPTH, crop=(64, 64), steps=3)
    assert depth.evaluate(Task(open_encoder(TINY), train, test.subset(range(4))), config)["rms"] < 10


def test_depth_constants_are_the_papers() -> None:
    """protocols.md 13 (D.6)."""
    config = DepthConfig()
    assert (config.steps, config.batch_size, config.weight_decay, config.peak()) == (7500, 256, 5e-4, 0.16)
    assert (config.crop, config.filters, config.scale) == ((228, 304), (512, 256, 128, 64), 0.5)
    assert (config.gray, config.brightness, config.saturation, config.hue) == (0.3, 0.1255, (0.5, 1.5), 0.2)
    assert config.left_out() == ""


def test_the_fast_up_projection_is_5x5_over_zeros() -> None:
    """Laina et al. (arXiv:1606.00373), Section 3.2."""
    torch.manual_seed(0)
    layer = FastUp(3, 4)
    kernel = torch.zeros(4, 3, 5, 5)
    # an output pixel at an even place meets rows 0, 2, 4 of the kernel, at an odd one rows 1, 3
    for part, rows, columns in zip(layer.parts, (0, 0, 1, 1), (0, 1, 0, 1), strict=True):
        kernel[:, :, rows::2, columns::2] = part.weight.detach()
    x = torch.randn(2, 3, 5, 6)
    filled = torch.zeros(2, 3, 10, 12)
    filled[:, :, ::2, ::2] = x
    assert torch.allclose(layer(x), F.conv2d(filled, kernel, padding=2), atol=1e-5)


def test_reverse_huber_by_hand() -> None:
    truth, predicted = torch.tensor([1.0, 1.0, 1.0, 0.0]), torch.tensor([1.1, 3.0, 1.0, 50.0])
    c = 0.4
    assert berhu(predicted, truth).item() == pytest.approx((0.1 + (4 + c * c) / (2 * c) + 0) / 3, rel=1e-5)


def test_depths_of_eight_bits_are_refused(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "depths").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(png(np.zeros((8, 8, 3), np.uint8)))
    (tmp_path / "depths" / "a.png").write_bytes(png(np.full((8, 8), 1500, np.uint16)))
    assert open_depths(tmp_path).map(0).unique().tolist() == pytest.approx([1.5], abs=1e-3)
    (tmp_path / "depths" / "a.png").write_bytes(png(np.full((8, 8), 15, np.uint8)))
    with pytest.raises(UserError, match=r"8 bits cannot hold millimeters.*a.png of 16 bits"):
        open_depths(tmp_path)


def test_degenerate_depths() -> None:
    encoder = open_encoder(TINY)
    images = TensorSource(scenes(2)[0], name="scenes")
    with pytest.raises(UserError, match="no known depth"):
        depth.evaluate(Task(encoder, DepthSource(images, [torch.full((32, 32), torch.nan)] * 2), deep()), DEPTH)
    with pytest.raises(UserError, match="its map is 16 x 16"):
        depth.evaluate(Task(encoder, deep(), DepthSource(images, [torch.ones(16, 16)] * 2)), DEPTH)
    with pytest.raises(UserError, match="smaller than the crop"):
        depth.evaluate(Task(encoder, deep(), deep()), DepthConfig())
