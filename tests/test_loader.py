"""The loader: a step's batch is a pure function of (seed, step), whoever takes which part of it."""

import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from building import make_loader
from byol.augment.crop import crop_window
from byol.augment.draw import draw_view
from byol.augment.params import ViewParams
from byol.config.run import PretrainConfig
from byol.config.values import replace
from byol.data.batch import CropBatch
from byol.data.crop import crop_one, shrink_side
from byol.data.loader import Loader
from byol.data.order import order_of_epoch
from byol.data.sources.open import FolderSource, TensorSource, open_source
from byol.errors import BadImage
from byol.runtime.seeds import generator_of, seed_of

CPU = torch.device("cpu")
CONFIG = PretrainConfig(image_size=12, batch_size=8, epochs=3, seed=5)
COUNT = 30


def numbered(height: int = 16, width: int = 20, count: int = COUNT) -> Tensor:
    """Images whose every value is their number."""
    return torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(count, 3, height, width).contiguous()


def textured(count: int = COUNT, height: int = 16, width: int = 20) -> Tensor:
    return torch.randint(
        0, 256, (count, 3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )


def loader(
    images: Tensor, config: PretrainConfig = CONFIG, held: Tensor | list[Tensor] | None = None, **rest: object
) -> Loader:
    return make_loader(TensorSource(images), config, decoded=held, **rest)


def kinds(images: Tensor) -> dict[str, Tensor | list[Tensor] | None]:
    return {"whole": images, "list": list(images), "not held": None}


KINDS = pytest.mark.parametrize("kind", ["whole", "list", "not held"])


def flat(loader: Loader, first: int, last: int) -> list[Tensor]:
    """All pixels of both views' crops or images of each step, in the order of the batch."""

    def pixels(batches: list[CropBatch]) -> Tensor:
        views = [batch.augmented().views for batch in batches]
        return torch.cat([torch.cat(view) for view in zip(*views, strict=True)])

    return [pixels(batches) for batches in loader.batches(first, last)]


@KINDS
def test_a_step_is_the_same_wherever_one_starts(kind: str) -> None:
    images = textured()
    everything = flat(loader(images, held=kinds(images)[kind]), 0, 7)
    later = flat(loader(images, held=kinds(images)[kind]), 4, 7)
    assert len(everything) == 7
    for one, other in zip(everything[4:], later, strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(everything[0], everything[1])
    other_seed = flat(loader(images, replace(CONFIG, seed=6), held=kinds(images)[kind]), 0, 1)
    assert not torch.equal(everything[0], other_seed[0])


@KINDS
def test_every_image_comes_once_an_epoch(kind: str) -> None:
    config = replace(CONFIG, batch_size=8)
    images = numbered()
    seen: list[int] = []
    for (batch,) in loader(images, config, held=kinds(images)[kind]).batches(0, 15):
        for view in batch.images:
            assert torch.equal(view, view[:, :1, :1, :1].expand_as(view)), "no mixing of images"
        assert torch.equal(batch.images[0][:, 0, 0, 0], batch.images[1][:, 0, 0, 0]), "two views of the same images"
        seen += batch.images[0][:, 0, 0, 0].tolist()
    # 15 steps of 8 are 4 epochs of 30, though no epoch is a whole number of batches
    epochs = [seen[i : i + COUNT] for i in range(0, 120, COUNT)]
    assert all(sorted(epoch) == list(range(COUNT)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4, "each in another order"
    assert epochs[2] == order_of_epoch(2, seed=config.seed, images=COUNT).tolist()


@KINDS
@pytest.mark.parametrize(("world", "accumulate"), [(1, 2), (1, 4), (2, 1), (2, 2), (4, 1)])
def test_processes_and_micro_batches_change_nothing(kind: str, world: int, accumulate: int) -> None:
    images = textured()
    plain = loader(images, held=kinds(images)[kind])
    config = replace(CONFIG, optim__accumulate=accumulate)
    parts = [
        loader(images, config, held=kinds(images)[kind], rank=rank, world_size=world).batches(0, 5)
        for rank in range(world)
    ]
    for step, (whole,) in enumerate(plain.batches(0, 5)):
        found = [next(part) for part in parts]
        assert all(len(micro) == accumulate for micro in found)
        for view in (0, 1):
            joined = torch.cat([found[rank][n].images[view] for n in range(accumulate) for rank in range(world)])
            assert torch.equal(joined, whole.images[view]), step
            drawn = ViewParams.join(*(found[rank][n].params[view] for n in range(accumulate) for rank in range(world)))
            for name, numbers in whole.params[view].numbers.items():
                for key, values in numbers.items():
                    assert torch.equal(drawn.numbers[name][key], values), (name, key)


def test_held_and_read_anew_are_the_same(tmp_path: Path) -> None:
    images = textured()
    for number, image in enumerate(images):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / f"{number:02d}.png")
    source = FolderSource(tmp_path)
    from_disk = flat(make_loader(source, CONFIG, CPU, 2), 0, 4)
    from_memory = flat(loader(images, held=list(images)), 0, 4)
    assert all(torch.equal(a, b) for a, b in zip(from_disk, from_memory, strict=True))


def test_number_of_threads_changes_nothing() -> None:
    images = textured()
    one, many = make_loader(TensorSource(images), CONFIG, CPU, 1), make_loader(TensorSource(images), CONFIG, CPU, 5)
    assert all(torch.equal(a, b) for a, b in zip(flat(one, 0, 4), flat(many, 0, 4), strict=True))


def test_small_images_are_cropped_as_a_batch_large_ones_one_by_one() -> None:
    small, large = textured(), textured(8, 20, 129)
    assert loader(small, held=small).crops_on_device
    assert not loader(large, held=large).crops_on_device
    assert not loader(small).crops_on_device
    assert not loader(small, held=list(small)).crops_on_device
    (batch,) = next(loader(large, held=large).batches(0, 1))
    assert not batch.whole
    assert batch.images[0].shape == (8, 3, 12, 12)


@given(st.integers(0, 500), st.integers(1, 40), st.integers(1, 40))
@settings(deadline=None, max_examples=30)
def test_one_crop_is_its_window_enlarged(seed: int, height: int, width: int) -> None:
    """An image that is its own coordinates tells which window was cut."""
    params = draw_view(CONFIG.augment.view1, 1, partial(generator_of, seed))
    rows = torch.linspace(0, 1, height).view(1, -1, 1).expand(1, height, width)
    columns = torch.linspace(0, 1, width).view(1, 1, -1).expand(1, height, width)
    crop = crop_one(torch.cat([rows, columns]), params, 16)
    top, left, h, w = (int(t) for t in crop_window(params.numbers["crop"], height, width))
    for channel, start, length, whole in ((0, top, h, height), (1, left, w, width)):
        values = crop[channel]
        least, most = start / max(whole - 1, 1), (start + length - 1) / max(whole - 1, 1)
        slack = 0.08 * length / max(whole - 1, 1) + 1e-5  # a cubic filter overshoots at the rim
        assert values.min() >= min(least - slack, 1)
        assert values.max() <= most + slack
        assert values.mean().item() == pytest.approx((least + most) / 2, abs=slack + 1e-4)


def test_crops_of_bytes_stay_bytes_and_do_not_alias() -> None:
    # a pattern of one-pixel stripes shrunk eight times is even gray, not other stripes
    stripes = (torch.arange(256) % 2 * 255).to(torch.uint8).expand(3, 256, 256)
    view = replace(CONFIG.augment.view1, area=(1.0, 1.0), aspect=(1.0, 1.0))
    crop = crop_one(stripes, draw_view(view, 1, partial(generator_of, 0)), 32)
    assert crop.dtype == torch.uint8
    assert (crop[:, :, 2:-2].int() - 128).abs().max() <= 2


def test_bad_images_are_replaced_by_the_next_good_one_and_told_once(tmp_path: Path) -> None:
    for number in range(12):
        Image.new("RGB", (20, 20), (number * 20,) * 3).save(tmp_path / f"{number:02d}.png")
    for number in (3, 4, 11):
        (tmp_path / f"{number:02d}.png").write_bytes(b"no image")
    told: list[str] = []
    config = replace(CONFIG, batch_size=12)
    for workers in (1, 3):
        told.clear()
        reader = make_loader(open_source(tmp_path, 3), config, CPU, workers, on_bad=told.append)
        for epoch, (batch,) in enumerate(reader.batches(0, 3)):
            shown = (batch.images[0][:, 0, 0, 0] // 20).tolist()
            wanted = order_of_epoch(epoch, seed=config.seed, images=12).tolist()
            instead = {3: 5, 4: 5, 11: 0}
            assert shown == [instead.get(number, number) for number in wanted]
        assert sorted({line.split("\t")[0] for line in told}) == [str(tmp_path / f"{n:02d}.png") for n in (3, 4, 11)]
        assert all(line.split("\t")[1] for line in told)
        assert workers > 1 or len(told) == 3


def test_bytes_among_deep_images_keep_their_brightness(tmp_path: Path) -> None:
    for number in range(4):
        Image.new("L", (20, 20), 51).save(tmp_path / f"{number}.png")
        Image.fromarray(np.full((20, 20), 3 * 65535 // 5, np.uint16)).save(tmp_path / f"{number}-deep.png")
    source = open_source(tmp_path)
    (batch,) = next(make_loader(source, CONFIG, CPU, 2).batches(0, 1))
    assert batch.images[0].dtype == torch.float32
    wanted = order_of_epoch(0, seed=CONFIG.seed, images=8).tolist()
    deep = torch.tensor(["deep" in Path(source.where(number)).name for number in wanted])
    expected = torch.where(deep, 0.6, 0.2).view(-1, 1, 1, 1).expand(8, 1, 12, 12)
    torch.testing.assert_close(batch.images[0], expected, atol=1e-6, rtol=0)


class Slow(TensorSource):
    """Counts what was read."""

    read_so_far = 0

    def image(self, index: int, shrink_to: int | None = None) -> Tensor:
        self.read_so_far += 1
        return super().image(index)


def test_decodes_ahead_and_stops_when_nobody_asks() -> None:
    source = Slow(textured())
    batches = make_loader(source, CONFIG, prefetched=2).batches(0, 1000)
    next(batches)
    deadline = time.monotonic() + 5
    while source.read_so_far < 24 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert source.read_so_far == 24, "the batch asked for, and two more"
    batches.close()
    assert source.read_so_far == 24


def test_a_processor_decodes_nothing_beside_its_steps() -> None:
    source = Slow(textured())
    batches = make_loader(source, CONFIG, CPU, 2).batches(0, 1000)
    next(batches)
    time.sleep(0.2)
    assert source.read_so_far == 8
    batches.close()


def test_large_views_made_in_threads_are_those_made_later(monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(CONFIG, image_size=112)
    source = TensorSource(textured(height=60, width=70), labels=list(range(COUNT)))
    supervised = make_loader(source, replace(config, method="supervised"), CPU, 2)
    assert supervised.views_in_threads
    (batch,) = next(supervised.batches(1, 2))
    assert batch.params is None
    assert batch.augmented().views[0] is batch.images[0]
    wanted = flat(make_loader(source, replace(config, optim__accumulate=2), CPU, 1), 0, 3)
    found = flat(make_loader(source, config, CPU, 2), 0, 3)
    assert all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True)), "micro-batches keep crops"
    monkeypatch.setattr(Loader, "views_in_threads", False)
    (later,) = next(supervised.batches(1, 2))
    assert later.params is not None
    assert torch.equal(batch.labels, later.labels)  # type: ignore[arg-type]
    for one, other in zip(batch.images, later.augmented().views, strict=True):
        assert torch.equal(one, other)


def test_an_error_in_a_thread_reaches_the_loop() -> None:
    class Broken(TensorSource):
        def image(self, index: int, shrink_to: int | None = None) -> Tensor:
            raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        next(make_loader(Broken(textured()), CONFIG, CPU, 2).batches(0, 3))


def test_jpegs_are_decoded_no_smaller_than_twice_the_view() -> None:
    asked: list[int | None] = []

    class Asked(TensorSource):
        def image(self, index: int, shrink_to: int | None = None) -> Tensor:
            asked.append(shrink_to)
            if index == 0:
                raise BadImage("once")
            return super().image(index)

    next(make_loader(Asked(textured()), CONFIG, CPU, 1).batches(0, 1))
    assert set(asked) == {24}
    assert shrink_side(224) == 448


def test_seeds_are_fixed_for_all_time() -> None:
    """Should these numbers change, no earlier run can be made again."""
    assert seed_of(0, "weights") == 7388263408636359099
    assert len({seed_of(0, "order", 1), seed_of(0, "order", 2), seed_of(1, "order", 1), seed_of(0, "views", 1)}) == 4
    assert all(0 <= seed_of(n, "x") < 2**63 for n in range(100))
