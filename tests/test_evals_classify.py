"""Encoders, features and the evaluations that tell classes apart: tiny runs, constants, degenerate input."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from sklearn.neighbors import KNeighborsClassifier

from byol.config.encoder import EncoderSpec
from byol.data.sources.files import FolderSource
from byol.data.sources.open import Source, TensorSource
from byol.data.transform import Transform
from byol.encoders.build import make_encoder
from byol.encoders.file import EncoderCard, save_encoder
from byol.encoders.load import LoadedEncoder, open_encoder
from byol.errors import UserError
from byol.evals import fewshot, finetune, knn, layers, linear, semi, transfer
from byol.evals.cache import FeatureConfig, cached_features
from byol.evals.evaluation import Task
from byol.evals.features import Passes, extract
from byol.evals.fewshot import FewshotConfig
from byol.evals.finetune import FinetuneConfig, set_batch_norm
from byol.evals.knn import KnnConfig
from byol.evals.labels import draw_per_class, draw_share, labeled_parts
from byol.evals.layers import LayersConfig
from byol.evals.linear import HELD_OUT, LinearConfig
from byol.evals.metrics import top_k
from byol.evals.record import Origin, make_record, write_record
from byol.evals.semi import SemiConfig
from byol.evals.transfer import TransferConfig
from byol.evals.tuning import hold_out
from evals_data import CPU, TINY, colored, relabeled

FAST_FINETUNE = FinetuneConfig(lrs=(0.01,), weight_decays=(0.0,), steps=20, batch_size=16)


@pytest.fixture(autouse=True)
def _features_below_a_folder_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BYOL_HOME", str(tmp_path / "home"))


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    torch.manual_seed(5)
    encoder = make_encoder("resnet18", width=0.125, stem="small")
    spec = EncoderSpec.of("resnet18", width=0.125, stem="small", input_size=16, mean=(0.5,) * 3, std=(0.25,) * 3)
    card = EncoderCard(encoder=spec, features=64, method="byol", epochs=1, seed=0, images=9)
    save_encoder(folder, encoder, card)
    return folder


# Encoders


def test_a_run_opens_by_folder_and_by_file(run_folder: Path) -> None:
    by_folder = open_encoder(str(run_folder))
    by_file = open_encoder(str(run_folder / "encoder.safetensors"))
    assert by_folder.fingerprint == by_file.fingerprint
    assert by_folder.transform == Transform(image_size=16, mean=(0.5,) * 3, std=(0.25,) * 3)
    untrained = open_encoder(f"random:{run_folder}")
    assert by_folder.spec is not None
    assert untrained.spec == by_folder.spec.untrained()
    assert untrained.transform == by_folder.transform
    assert untrained.fingerprint != by_folder.fingerprint


def test_random_encoders_follow_their_seed_and_leave_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    one, same, other = open_encoder(TINY), open_encoder(TINY), open_encoder(TINY, seed=1)
    assert torch.equal(before, torch.random.get_rng_state())
    assert one.fingerprint == same.fingerprint != other.fingerprint
    assert one.transform.image_size == 16
    assert one.module(torch.zeros(2, 3, 16, 16)).shape == (2, 64)


def test_pixels_are_the_images(run_folder: Path) -> None:
    encoder = open_encoder("pixels@8", channels=1)
    assert encoder.module(torch.zeros(2, 1, 8, 8)).shape == (2, 64)
    with pytest.raises(UserError, match="no weights to train"):
        encoder.copy()


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("nowhere/run", "There is no encoder"),
        ("random:resnet1", "Did you mean"),
        ("random:resnet18@smal", "Did you mean 'small'"),
        ("random:resnet18@x-1", "no option"),
        ("timm:resnet1", "Did you mean"),
        ("pixels@big", "names no size"),
        ("randon:resnet18", "Did you mean 'random'"),
    ],
)
def test_a_wrong_name_says_what_is_right(spec: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        open_encoder(spec)


def test_copies_train_and_the_original_stays() -> None:
    encoder = open_encoder(TINY)
    copy = encoder.copy()
    assert all(p.requires_grad for p in copy.parameters())
    assert not any(p.requires_grad for p in encoder.module.parameters())
    finetune.evaluate(Task(encoder, colored(6), colored(3, seed=1)), replace(FAST_FINETUNE, steps=2))
    assert open_encoder(TINY).fingerprint == encoder.fingerprint
    again = open_encoder(TINY).module.state_dict()
    assert all(torch.equal(value, again[key]) for key, value in encoder.module.state_dict().items())


# Features


def test_the_transfer_region_is_the_whole_shorter_side() -> None:
    image = torch.rand(3, 80, 120)
    whole = Transform(image_size=80, mean=(0.5,) * 3, std=(0.25,) * 3, region="short-side")
    assert torch.allclose(whole.crop(image), image[:, :, 20:100].clamp(0, 1), atol=1e-6)
    center = replace(whole, region="center", image_size=70)
    assert torch.allclose(center.crop(image), image[:, 5:75, 25:95], atol=1e-6)


def test_kept_features_are_those_computed_and_follow_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, source = open_encoder(TINY), colored(5)
    config = FeatureConfig(precision="float32", batch_size=4)
    first = cached_features(encoder, source, config, CPU)
    direct = extract(encoder.module, source, encoder.transform, Passes(CPU))
    assert torch.allclose(first.values, direct.values, atol=1e-5)
    monkeypatch.setattr("byol.evals.cache._blocks", None)  # computing again would fail
    second = cached_features(encoder, source, config, CPU)
    assert torch.equal(first.values, second.values)
    assert source.labels is not None
    assert second.with_labels(source.labels).labels.tolist() == source.labels
    for changed in (open_encoder(TINY, seed=1), encoder.with_region("short-side")):
        with pytest.raises(TypeError):
            cached_features(changed, source, config, CPU)
    with pytest.raises(TypeError):
        cached_features(encoder, colored(5, seed=1), config, CPU)


def test_kept_features_are_not_those_of_other_images_with_the_same_names_and_sizes(tmp_path: Path) -> None:
    encoder, found = open_encoder(TINY), []
    for name, seed in (("a", 0), ("b", 1)):
        (tmp_path / name).mkdir()
        for number, image in enumerate(colored(5, seed=seed).images):
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / name / f"{number}.bmp")
        source = FolderSource(tmp_path / name)
        found.append((source.fingerprint(), cached_features(encoder, source, FeatureConfig(), CPU).values))
    assert found[0][0] == found[1][0], "a fingerprint knows names and sizes"
    assert not torch.allclose(found[0][1], found[1][1])


@pytest.mark.parametrize("side", [16, 24])
def test_images_in_memory_give_what_they_give_one_by_one(side: int) -> None:
    """Whole batches are taken where nothing is to be cropped (16 px); the last one is not full."""
    encoder, source = open_encoder(TINY), colored(5)
    transform = replace(encoder.transform, image_size=side)
    one_by_one = Source.subset(source, range(len(source)))  # not a TensorSource's own, which is one again
    assert not isinstance(one_by_one, TensorSource)
    whole, single = (
        extract(encoder.module, images, transform, Passes(CPU, batch_size=4)) for images in (source, one_by_one)
    )
    assert source.images.shape[2:] == (16, 16)
    assert len(source) % 4 != 0
    assert torch.equal(whole.values, single.values)
    assert torch.equal(whole.indices, single.indices)


def broken(kind: float) -> LoadedEncoder:
    encoder = open_encoder(TINY)
    weight = next(encoder.module.parameters())
    weight[0, 0, 0, 0] = kind
    return encoder


@pytest.mark.parametrize("cache", [True, False])
def test_nan_features_are_refused_and_nothing_is_kept(tmp_path: Path, cache: bool) -> None:
    with pytest.raises(UserError, match="NaN or infinite"):
        cached_features(broken(torch.nan), colored(5), FeatureConfig(cache=cache), CPU)
    folder = tmp_path / "home" / "features"
    assert not folder.exists() or not list(folder.iterdir())


def test_channels_must_fit() -> None:
    gray = TensorSource(torch.zeros(6, 1, 16, 16, dtype=torch.uint8), [0, 1] * 3)
    with pytest.raises(UserError, match="1 channels"):
        cached_features(open_encoder(TINY), gray, FeatureConfig(), CPU)


# k-NN


def test_knn_is_scikit_learns() -> None:
    generator = torch.Generator().manual_seed(0)
    bank, queries = torch.randn(200, 8, generator=generator), torch.randn(50, 8, generator=generator)
    labels = torch.randint(0, 4, (200,), generator=generator)
    model = KNeighborsClassifier(15, metric="cosine", weights=lambda d: np.exp(-d / 0.07))
    expected = model.fit(bank.numpy(), labels.numpy()).predict(queries.numpy())
    assert knn.knn_scores(bank, labels, queries, classes=4, k=15).argmax(dim=1).numpy().tolist() == expected.tolist()


def test_knn_in_blocks_is_knn_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    bank, queries = torch.randn(57, 8, generator=generator), torch.randn(23, 8, generator=generator)
    labels = torch.randint(0, 4, (57,), generator=generator)
    whole = knn.knn_scores(bank, labels, queries, classes=4, k=9)
    monkeypatch.setattr(knn, "BLOCK", 5)
    monkeypatch.setattr(knn, "BANK_BLOCK", 7)
    assert torch.allclose(knn.knn_scores(bank, labels, queries, classes=4, k=9), whole, rtol=1e-4)


def test_a_low_temperature_leaves_the_vote_to_the_nearest() -> None:
    torch.manual_seed(0)
    bank, queries = torch.randn(200, 8), torch.randn(100, 8)
    labels = torch.arange(200) % 7
    nearest_label = labels[(F.normalize(queries, dim=1) @ F.normalize(bank, dim=1).T).argmax(dim=1)]
    scores = knn.knn_scores(bank, labels, queries, classes=7, k=20, temperature=1e-4)
    assert torch.equal(scores.argmax(dim=1), nearest_label), "votes do not all vanish"


def test_test_images_that_are_training_images_are_counted() -> None:
    train, test = colored(10), colored(6, seed=1)
    mixed = TensorSource(torch.cat([test.images, train.images[:4]]), [*test.labels, *train.labels[:4]], train.classes)
    config = KnnConfig(k=(3,), features=FeatureConfig(cache=False))
    assert "copies" not in knn.evaluate(Task(open_encoder("pixels@16"), train, test), config)
    assert knn.evaluate(Task(open_encoder("pixels@16"), train, mixed), config)["copies"] == 4


def test_classes_without_a_vote_are_never_among_the_best() -> None:
    torch.manual_seed(0)
    bank, queries, truth = torch.randn(200, 8), torch.randn(100, 8), torch.arange(100) % 7
    scores = knn.knn_scores(bank, torch.arange(200) % 7, queries, classes=7, k=1)
    assert top_k(scores, truth, 5) == top_k(scores, truth, 1) < 0.5


def test_no_more_neighbors_vote_than_there_are() -> None:
    parts = colored(6), colored(3, seed=1)
    fewest = knn.evaluate(Task(open_encoder(TINY), *parts), KnnConfig(k=(5, 18, 19)))
    assert list(fewest) == ["top1_k5", "top1_k18"], "18 images, and five of three classes are no question"
    assert list(knn.evaluate(Task(open_encoder(TINY), *parts), KnnConfig(k=(200,)))) == ["top1_k18"]


def test_what_was_learned_from_is_not_asked_about() -> None:
    with pytest.raises(UserError, match="are the same images"):
        knn.evaluate(Task(open_encoder(TINY), colored(6), colored(6)), KnnConfig())


def test_other_images_of_the_same_names_and_sizes_are_other_images(tmp_path: Path) -> None:
    for part in ("one", "two"):
        for number, name in enumerate(("a", "b", "a", "b")):
            (tmp_path / part / name).mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(number if part == "one" else 9).random((8, 8, 3), dtype=np.float32)
            np.save(tmp_path / part / name / f"{number}.npy", pixels)
    one, two = FolderSource(tmp_path / "one"), FolderSource(tmp_path / "two")
    assert one.fingerprint() == two.fingerprint()
    assert labeled_parts(one, two).classes == ["a", "b"]
    with pytest.raises(UserError, match="are the same images"):
        labeled_parts(one, one)


# Tiny runs


Run = Callable[[LoadedEncoder, Any, Any], dict[str, float]]
RUNS: dict[str, Run] = {
    "knn": lambda e, a, b: knn.evaluate(Task(e, a, b), KnnConfig(k=(5,))),
    "linear": lambda e, a, b: linear.evaluate(Task(e, a, b), LinearConfig(epochs=4, batch_size=16)),
    "linear cached": lambda e, a, b: linear.evaluate(Task(e, a, b), LinearConfig(cached=True, batch_size=16)),
    "fewshot": lambda e, a, b: fewshot.evaluate(Task(e, a, b), FewshotConfig(per_class=(1, 4), draws=2)),
    "layers": lambda e, a, b: layers.evaluate(Task(e, a, b), LayersConfig(l2=(1.0, 0.01))),
    "transfer": lambda e, a, b: transfer.evaluate(Task(e, a, b), TransferConfig(l2=(1e-3, 1e-1, 1e1))),
    "finetune": lambda e, a, b: finetune.evaluate(Task(e, a, b), FAST_FINETUNE),
    "semi": lambda e, a, b: semi.evaluate(
        Task(e, a, b), SemiConfig(shares=(0.5,), lrs=(0.1,), epochs=(10,), baseline=False)
    ),
}


@pytest.mark.parametrize("name", RUNS)
def test_tiny_run_beats_chance(name: str) -> None:
    result = RUNS[name](open_encoder(TINY), colored(16), colored(8, seed=1))
    accuracy = max(value for key, value in result.items() if key.startswith("top1"))
    assert 0.5 < accuracy <= 1
    json.dumps(result)


def degenerate() -> dict[str, tuple[TensorSource, TensorSource, str]]:
    train, test = colored(6), colored(3, seed=1)
    assert train.labels is not None
    assert test.labels is not None
    first_only = train.subset([i for i, label in enumerate(train.labels) if label == 0])
    without_last = test.subset([i for i, label in enumerate(test.labels) if label != 2])
    return {
        "no labels": (TensorSource(train.images, None), test, "no labels"),
        "one class": (relabeled(train, [0] * 18, ["a"]), relabeled(test, [0] * 9, ["a"]), "one class only"),
        "one class of three": (first_only, test, "has one class only|has no image"),
        "class missing in test": (train, without_last, "has no image in the test part"),
        "class missing in train": (train.subset([i for i, c in enumerate(train.labels) if c]), test, "training part"),
        "other labels": (train, relabeled(test, test.labels, ["a", "b", "c"]), "differ"),
        "fewer labels than classes": (train.subset([0, 1]), test, "2 labeled images for 3 classes"),
    }


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("case", degenerate())
def test_degenerate_labels_are_one_sentence(name: str, case: str) -> None:
    train, test, words = degenerate()[case]
    with pytest.raises(UserError, match=words) as caught:
        RUNS[name](open_encoder(TINY), train, test)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["knn", "linear", "fewshot", "transfer"])
def test_nan_features_are_one_sentence(name: str) -> None:
    with pytest.raises(UserError, match="NaN or infinite"):
        RUNS[name](broken(torch.nan), colored(16), colored(8, seed=1))


def test_more_labels_than_there_are() -> None:
    with pytest.raises(UserError, match="ask for 6 at most"):
        fewshot.evaluate(Task(open_encoder("pixels@4"), colored(6), colored(3)), FewshotConfig(per_class=(7,)))
    with pytest.raises(UserError, match="is none"):
        semi.evaluate(Task(open_encoder(TINY), colored(6), colored(3)), SemiConfig(shares=(0.01,)))


def test_fewshot_is_the_same_again_and_another_with_another_seed() -> None:
    encoder, train, test = open_encoder(TINY), colored(20, classes=4), colored(20, classes=4, seed=1)
    one, same, other = (
        fewshot.evaluate(Task(encoder, train, test), FewshotConfig(per_class=(1,), seed=seed)) for seed in (0, 0, 1)
    )
    assert one == same != other


def test_the_baseline_of_finetuning_starts_untrained(run_folder: Path) -> None:
    result = finetune.evaluate(
        Task(open_encoder(str(run_folder)), colored(8), colored(4, seed=1)), replace(FAST_FINETUNE, baseline=True)
    )
    assert {"top1", "scratch_top1", "lr", "scratch_lr"} <= set(result)


# Protocols


def test_linear_constants_are_the_papers() -> None:
    """protocols.md 6 (arXiv:2006.07733, C.1)."""
    config = LinearConfig()
    assert (config.epochs, config.batch_size, config.momentum) == (80, 1024, 0.9)
    assert config.lrs == (0.4, 0.3, 0.2, 0.1, 0.05)
    assert HELD_OUT == 10_009
    assert [lr * config.batch(10**6) / 256 for lr in config.lrs] == pytest.approx([1.6, 1.2, 0.8, 0.4, 0.2])


def test_semi_constants_are_the_papers() -> None:
    """protocols.md 7 (C.1)."""
    config = SemiConfig()
    assert sorted(config.lrs) == [0.005, 0.01, 0.02, 0.05, 0.1]
    assert (config.epochs, config.batch_size, config.momentum) == ((30, 50), 1024, 0.9)
    assert config.left_out() == ""
    assert "2 of the paper's 10" in config.quick().left_out()


def test_finetune_constants_are_the_papers() -> None:
    """protocols.md 10 (D.3)."""
    config = FinetuneConfig()
    assert (config.batch_size, config.steps, config.momentum) == (256, 20_000, 0.9)
    assert np.log10(config.lrs) == pytest.approx(np.linspace(-4, -1, 7))
    assert np.log10(config.weight_decays[:7]) == pytest.approx(np.linspace(-6, -3, 7))
    assert config.weight_decays[7] == 0
    assert len(config.lrs) * len(config.weight_decays) == 56
    assert config.left_out() == ""
    assert "3 of the paper's 56" in config.quick().left_out()


@pytest.mark.parametrize(("steps_per_epoch", "kept"), [(1000, 0.99), (200, 0.95), (100, 0.9), (20, 0.9), (1, 0.9)])
def test_batch_norm_memory_is_the_papers(steps_per_epoch: float, kept: float) -> None:
    """protocols.md 10 (D.3): max(1 - 10 / s, 0.9)."""
    layer = torch.nn.BatchNorm2d(3)
    set_batch_norm(layer, steps_per_epoch)
    assert layer.momentum == pytest.approx(1 - kept)


def test_knn_constants() -> None:
    """arXiv:1805.01978, 3.4 (temperature, 200) and arXiv:2104.14294, 4.1 (20)."""
    assert (KnnConfig().k, KnnConfig().temperature) == ((20, 200), 0.07)


@pytest.mark.parametrize(
    "make",
    [
        lambda: KnnConfig(k=()),
        lambda: KnnConfig(temperature=0),
        lambda: LinearConfig(lrs=()),
        lambda: LinearConfig(held_out=1),
        lambda: FewshotConfig(draws=0),
        lambda: TransferConfig(l2=(0.0,)),
        lambda: FinetuneConfig(steps=0),
        lambda: SemiConfig(shares=(2.0,)),
    ],
)
def test_impossible_settings_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises(UserError):
        make()


# Draws


def test_draws_are_balanced_and_apart() -> None:
    labels = [0] * 30 + [1] * 50
    stay, held = hold_out(labels, 0.1, 0)
    assert sorted(stay + held) == list(range(80))
    assert sum(labels[i] == 0 for i in held) == 3
    assert len(hold_out(labels, 0.5, 0, at_most=8)[1]) == 8
    assert [sum(labels[i] == c for i in draw_per_class(labels, 4, 0)) for c in (0, 1)] == [4, 4]
    assert len(draw_share(labels, 0.1, 0)) == 8
    with pytest.raises(UserError, match="has one image"):
        hold_out([0, 1, 1], 0.5, 0)


def test_one_head_of_five_is_that_head_alone() -> None:
    """The five rates share a pass and their losses are added; each layer must learn as if alone."""
    source, test = colored(16), colored(8, seed=1)
    encoder = open_encoder("pixels@4")
    together = linear.evaluate(Task(encoder, source, test), LinearConfig(cached=True, epochs=5, batch_size=16))
    alone = linear.evaluate(
        Task(encoder, source, test), LinearConfig(cached=True, epochs=5, batch_size=16, lrs=(together["lr"],))
    )
    assert together == alone


# Records


def test_a_record_says_how_to_make_it_again(tmp_path: Path) -> None:
    encoder, source = open_encoder(TINY), colored(4)
    result = {"top1": 0.5, "rel": float("nan"), "rmse": float("inf")}
    record = make_record("knn", encoder, {"train": source}, KnnConfig(), result, Origin("byol eval knn"))
    write_record(tmp_path / "deep" / "knn.json", record)
    read = json.loads((tmp_path / "deep" / "knn.json").read_text())
    assert read["result"] == {"top1": 0.5, "rel": None, "rmse": None}
    assert read["encoder"]["fingerprint"] == encoder.fingerprint
    assert read["data"]["train"] == {"name": "toy", "images": 12, "fingerprint": source.fingerprint()}
    assert read["config"]["temperature"] == 0.07
    assert {"torch", "timm", "scikit-learn"} <= set(read["machine"])


def test_level_takes_mean_and_size_from_training() -> None:
    generator = torch.Generator().manual_seed(0)
    train, test = torch.randn(50, 6, generator=generator) * 3 + 1, torch.randn(9, 6, generator=generator)
    values, queries = fewshot.standardize(train, test)
    assert torch.allclose(values.mean(dim=0), torch.zeros(6), atol=1e-5)
    assert values.square().sum(dim=1).mean() == pytest.approx(1, abs=1e-4)
    ratio = F.pdist(train) / F.pdist(values)
    assert torch.allclose(ratio, ratio[0].expand_as(ratio), rtol=1e-3)
    assert queries.shape == test.shape
