"""Neighbors against scikit-learn; findings against planted truth, in small sets whose answers are known."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

import byol
from byol.cli.main import main
from byol.encoders.load import open_encoder
from byol.errors import UserError
from byol.evals import knn
from byol.evals.cache import FeatureConfig
from byol.explore import suspects
from byol.explore.coverage import suggest
from byol.explore.duplicates import HIGHEST, LOWEST, choose_threshold, find_duplicates
from byol.explore.findings import ExploreConfig, explore
from byol.explore.neighbors import find_neighbors, find_others
from byol.explore.outliers import find_outliers
from byol.explore.search import SearchConfig, search
from byol.explore.small import SIDE, edges, likeness, likeness_of_crops, small_copy
from byol.explore.suspects import find_suspects
from conftest import picture
from evals_data import CPU, colored

FLOAT = FeatureConfig(precision="float32")
MARKUP = "<script>alert(1)</script>"


@pytest.fixture(autouse=True)
def _features_below_a_folder_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BYOL_HOME", str(tmp_path / "home"))


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return int(stop.value.code or 0), captured.out, captured.err


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def pixels(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def textured(seed: int, side: int = 64) -> Image.Image:
    """A picture with edges of its own, which no other has."""
    drawn = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return Image.fromarray(drawn).resize((side, side), Image.Resampling.BICUBIC)


def clusters(per_class: int, classes: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Features (N, 8) around the axes, in mixed order, and their classes."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(per_class * classes) % classes
    return torch.eye(8)[labels] + 0.1 * torch.randn(len(labels), 8, generator=generator), labels


def test_neighbors_are_those_of_scikit_learn_whatever_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BLOCK", "BANK_BLOCK"):
        monkeypatch.setattr(knn, name, 37)
    generator = torch.Generator().manual_seed(1)
    bank, queries = torch.randn(300, 12, generator=generator), torch.randn(90, 12, generator=generator)
    distance, rows = NearestNeighbors(n_neighbors=15, metric="cosine", algorithm="brute").fit(bank).kneighbors(queries)
    found = find_neighbors(bank, queries, 15)
    np.testing.assert_array_equal(found.rows, rows)
    np.testing.assert_allclose(1 - found.similarity, distance, atol=1e-6)
    distance, rows = NearestNeighbors(n_neighbors=15, metric="cosine", algorithm="brute").fit(bank).kneighbors()
    others = find_others(bank, 15)
    np.testing.assert_array_equal(others.rows, rows)
    np.testing.assert_allclose(others.distance, np.sqrt(2 * distance), atol=1e-5)


def test_a_copy_is_a_neighbor_and_an_image_is_none_of_its_own() -> None:
    features = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    found = find_others(features, 20)
    assert found.rows[:2, 0].tolist() == [1, 0]
    assert found.rows.shape == (3, 2), "there are two others"
    assert find_others(features[:1]).rows.shape == (1, 0)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_features_that_are_no_numbers_are_refused(bad: float) -> None:
    features = torch.ones(4, 2)
    features[2, 1] = bad
    with pytest.raises(UserError, match="1 of 4 rows of features are NaN or infinite"):
        find_others(features)


def test_edges_are_differences_of_pixels_with_length_1() -> None:
    image = torch.tensor([[[0.0, 3.0], [0.0, 0.0]]])
    # across: 3, 0; down: 0, -3
    torch.testing.assert_close(edges(image)[0], torch.tensor([3.0, 0.0, 0.0, -3.0]) / 18**0.5)
    assert not edges(torch.ones(1, 4, 4)).any()


def test_copies_are_alike_and_other_pictures_are_not() -> None:
    original = textured(0)
    dark = Image.eval(original, lambda value: int(0.6 * value))
    mirrored = original.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    crop = original.crop((6, 6, 64, 64)).resize((64, 64), Image.Resampling.BICUBIC)
    flat = Image.new("RGB", (64, 64), "gray")
    small = torch.stack([small_copy(pixels(p)) for p in (original, dark, mirrored, crop, textured(1), flat, flat)])
    assert small.shape == (7, SIDE, SIDE)
    pairs = torch.tensor([[0, 1], [0, 2], [0, 3], [0, 4], [0, 5], [5, 6], [0, 0]])
    found = likeness(small, pairs)
    assert found[0] > 0.99
    assert found[1] > 0.999
    assert found[2] < 0.75, "a crop has its edges elsewhere"
    assert found[3] < 0.5
    assert found[4] == 0, "a flat image has none"
    assert found[5:].tolist() == [1, 1], "the same copies are the same"
    windows = likeness_of_crops(small, pairs[2:4])
    assert windows[0] > 0.95
    assert windows[1] < 0.6
    torch.testing.assert_close(windows, likeness_of_crops(small, pairs[2:4].flip(1)))


def test_the_threshold_lies_in_the_widest_gap() -> None:
    usual = torch.linspace(0.2, 0.4, 100)
    middle = np.tanh((np.arctanh(LOWEST) + np.arctanh(HIGHEST)) / 2)
    assert choose_threshold(usual) == pytest.approx(middle), "no image between: the middle"
    assert choose_threshold(torch.empty(0)) == pytest.approx(middle)
    # marks at 0.75, 0.76, 0.9 and 0.95 as atanh: 0.973, 0.996, 1.472, 1.832; the widest gap is 0.476
    found = choose_threshold(torch.cat([usual, torch.tensor([0.76, 0.9])]))
    assert found == pytest.approx(np.tanh((np.arctanh(0.76) + np.arctanh(0.9)) / 2))
    # neighbors that are alike as a rule: four standard deviations above their median is more than 0.9
    alike = choose_threshold(torch.linspace(0.5, 0.85, 101))
    assert alike == pytest.approx(np.tanh((np.arctanh(0.9) + np.arctanh(HIGHEST)) / 2))


def test_near_duplicates_are_found_and_grouped() -> None:
    pictures = [textured(number) for number in range(30)]
    pictures += [Image.eval(pictures[3], lambda value: int(0.7 * value)), pictures[3].resize((50, 50)), pictures[9]]
    small = torch.stack([small_copy(pixels(p)) for p in pictures])
    features = torch.stack([pixels(p.resize((8, 8))).float().flatten() for p in pictures])
    found = find_duplicates(find_others(features), small)
    assert found.groups == [[3, 30, 31], [9, 32]]
    assert LOWEST <= found.threshold <= HIGHEST
    assert found.likeness_of(32) == 1
    assert found.likeness_of(0) < 0.7


def test_many_copies_of_one_image_are_one_group() -> None:
    small = torch.stack([small_copy(pixels(textured(7)))] * 50)
    assert find_duplicates(find_others(torch.ones(50, 4)), small).groups == [list(range(50))]


def test_outliers_are_far_from_their_nearest() -> None:
    features, _ = clusters(40)
    features = torch.cat([features, torch.tensor([[-1.0, -1, -1, 0, 0, 0, 0, 0]])])
    found = find_outliers(find_others(features), 10)
    assert found.rows == [120]
    unit = torch.nn.functional.normalize(features, dim=1).double()
    by_hand = (1 - unit @ unit[120]).sort().values[1:11].mean()
    assert found.score[120] == pytest.approx(float(by_hand), abs=1e-5)


def test_where_all_are_equally_far_none_is_an_outlier() -> None:
    assert find_outliers(find_others(torch.eye(30))).rows == []
    assert find_outliers(find_others(torch.ones(30, 2))).rows == []
    assert find_outliers(find_others(torch.ones(1, 2))).rows == []


def test_swapped_labels_are_the_suspects() -> None:
    features, labels = clusters(40)
    given = labels.clone()
    given[[5, 50, 77]] = (given[[5, 50, 77]] + 1) % 3
    found = find_suspects(features, given)
    assert sorted(found.rows) == [5, 50, 77]
    assert found.suggested[[5, 50, 77]].tolist() == labels[[5, 50, 77]].tolist()
    assert (found.probability[[5, 50, 77]] < 0.1).all()
    assert (found.votes[[5, 50, 77]] < 0.1).all()
    assert (found.suggested == labels).all()


def test_classifiers_of_large_sets_are_fitted_to_some_of_each_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suspects, "FITTED", 30)
    monkeypatch.setattr(suspects, "FITTED_PER_CLASS", 1)
    sizes: list[list[int]] = []
    fit = suspects.LogisticPath

    def noted(features: Tensor, labels: Tensor, classes: int) -> suspects.LogisticPath:
        sizes.append(torch.bincount(labels, minlength=classes).tolist())
        return fit(features, labels, classes)

    monkeypatch.setattr(suspects, "LogisticPath", noted)
    features, labels = clusters(40)
    given = labels.clone()
    given[[5, 50, 77]] = (given[[5, 50, 77]] + 1) % 3
    assert sorted(find_suspects(features, given).rows) == [5, 50, 77]
    assert len(sizes) == 5
    assert all(sum(each) == 30 and min(each) >= 9 for each in sizes), "a third of each"


def test_labels_that_cannot_be_judged_are_not() -> None:
    features, labels = clusters(4)
    assert find_suspects(features, torch.full((12,), -1)).rows == []
    assert find_suspects(features, torch.zeros(12, dtype=torch.int64)).rows == [], "nothing to confuse it with"
    assert find_suspects(features[:3], torch.arange(3)).rows == [], "3 classes of 1 image"
    labels[[0, 1]] = torch.tensor([7, -1])
    found = find_suspects(features, labels)
    assert found.suggested[[0, 1]].tolist() == [-1, -1]
    assert found.probability[[0, 1]].isnan().all()
    assert not found.probability[2:].isnan().any()
    assert 7 not in found.suggested


def test_suggestions_cover_every_cluster_before_any_twice() -> None:
    features, labels = clusters(30)
    near, none = find_others(features), torch.zeros(90, dtype=torch.bool)
    assert sorted(labels[suggest(features, near, 3, none)].tolist()) == [0, 1, 2]
    typical = suggest(features, near, 3, none)[0]
    own = labels == labels[typical]
    assert near.distance.mean(dim=1)[typical] == near.distance.mean(dim=1)[own].min()
    labeled = labels == 0
    some = labeled & (torch.arange(90) < 3)
    assert sorted(labels[suggest(features, near, 2, some)].tolist()) == [1, 2], "0 has a label already"
    assert sorted(suggest(features, near, 90, none)) == list(range(90))
    with pytest.raises(UserError, match="5 suggestions were asked for, but 4 images have no label; ask for 1 to 4"):
        suggest(features, near, 5, torch.arange(90) >= 4)


def test_suggestions_of_identical_images() -> None:
    features = torch.ones(20, 4)
    assert len(set(suggest(features, find_others(features), 7, torch.zeros(20, dtype=torch.bool)))) == 7


def test_search_finds_what_a_product_of_all_pairs_finds() -> None:
    source, queries = colored(20, seed=1), colored(2, seed=2, name="asked")
    found = search(open_encoder("pixels@16"), source, queries, SearchConfig(k=4, features=FLOAT), CPU)
    unit = [torch.nn.functional.normalize((s.images.float() / 255 - 0.5).flatten(1), dim=1) for s in (queries, source)]
    similarity, rows = (unit[0] @ unit[1].T).topk(4, dim=1)
    assert [[hit.index for hit in hits] for hits in found] == rows.tolist()
    np.testing.assert_allclose([[hit.similarity for hit in hits] for hits in found], similarity, atol=1e-5)
    assert found[0][0].query == "asked image 0"
    assert {hit.label for hit in found[0]} == {"color 0"}


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """`train`: two classes of 12 pictures, one of each copied, a name that is markup; `test`: one image of `train`."""
    for number in range(24):
        folder = tmp_path / "train" / ("warm" if number % 2 else "cold")
        folder.mkdir(parents=True, exist_ok=True)
        tint = np.array([60, 0, -60]) * (1 if number % 2 else -1)
        image = Image.fromarray((np.asarray(textured(number)) * 0.4 + 70 + tint).clip(0, 255).astype(np.uint8))
        image.save(folder / f"{number:02d}.png")
        if number < 2:
            Image.eval(image, lambda value: int(0.8 * value)).save(folder / f"copy of {number}.png")
    (tmp_path / "train" / "warm" / "23.png").rename(tmp_path / "train" / "warm" / f"{MARKUP.replace('/', '-')}.png")
    (tmp_path / "test").mkdir()
    Image.open(tmp_path / "train" / "cold" / "04.png").save(tmp_path / "test" / "leak.jpg", quality=80)
    for number in range(3):
        textured(100 + number).save(tmp_path / "test" / f"{number}.png")
    return tmp_path


def test_explore_writes_a_table_of_each_kind(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train, out = folders / "train", folders / "found"
    (train / "cold" / "broken.png").write_bytes(b"no image")
    code, said, errors = run(
        capsys, "explore", "pixels@16", train, "--test", folders / "test", "--suggest", 2, "--out", out
    )
    assert code == 0, errors
    assert "1 of 27 images of" in said
    assert "near-duplicates: 4 images in 2 groups" in said
    assert "leaks: 1 of 4 test images has a near-duplicate among the others" in said
    groups = [(line["group"], Path(line["path"]).name, line["label"]) for line in table(out / "duplicates.csv")]
    first, second = (
        [("1", name, "cold") for name in ("00.png", "copy of 0.png")],
        [("2", name, "warm") for name in ("01.png", "copy of 1.png")],
    )
    assert groups == first + second
    (leak,) = table(out / "leaks.csv")
    assert (Path(leak["test_path"]).name, Path(leak["path"]).name, leak["test_label"]) == ("leak.jpg", "04.png", "")
    outliers = table(out / "outliers.csv")
    assert [line["rank"] for line in outliers] == [str(rank) for rank in range(1, 27)]
    distances = [float(line["distance"]) for line in outliers]
    assert distances == sorted(distances, reverse=True)
    assert sum(MARKUP.replace("/", "-") in line["path"] for line in outliers) == 1
    assert table(out / "suspects.csv") == [], "the colors tell the classes"
    assert {line["label"] for line in table(out / "suggested.csv")} == {"warm", "cold"}


def test_search_prints_and_writes_the_nearest(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    query = folders / "test" / "leak.jpg"
    code, said, errors = run(
        capsys, "search", "pixels@16", folders / "train", query, "-k", 3, "--out", folders / "s.csv"
    )
    assert code == 0, errors
    lines = table(folders / "s.csv")
    assert [line["rank"] for line in lines] == ["1", "2", "3"]
    assert (Path(lines[0]["path"]).name, lines[0]["label"], lines[0]["query"]) == ("04.png", "cold", str(query))
    assert float(lines[0]["similarity"]) > 0.99 > float(lines[1]["similarity"])
    assert "0.99" in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["search", "pixels", "{here}/train", "{here}/nothing"], "nothing' is not there; give a folder of images"),
        (["search", "pixels", "{here}/train", "{here}/test", "-k", "0"], "-k is 0, but must be 1 or more"),
        (["explore", "pixels", "{here}/train", "--suggest", "27", "--out", "{here}/o"], "26 images have no label"),
        (["explore", "pixels", "{here}/train", "--suggest", "-1", "--out", "{here}/o"], "suggest is -1, but must be"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    arguments: list[str], words: str, folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, errors = run(capsys, *(argument.format(here=folders) for argument in arguments))
    assert code == 2
    assert words in errors
    assert errors.count("\n") == 1


@pytest.mark.parametrize("images", [1, 2, 3])
def test_a_few_images_have_few_findings(images: int, tmp_path: Path) -> None:
    for number in range(images):
        picture(number).save(tmp_path / f"{number}.png")
    found = explore(open_encoder("pixels@16"), byol.open_source(tmp_path, 3), ExploreConfig(suggest=1), CPU)
    assert found.duplicates.groups == []
    assert found.outliers.rows == []
    assert found.suspects.rows == []
    assert len(found.suggested) == 1
    assert found.neighbors.rows.shape == (images, images - 1)
