"""What `byol embed` and `byol explore` write is taken as it is by programs that look at data: the examples of the docs.

Each is skipped where its program is not installed.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import byol
from byol.encoders.load import open_encoder
from byol.explore.embed import EmbedConfig, embed
from evals_data import CPU, colored

pandas = pytest.importorskip("pandas")
SWAPPED = 7
"""The image whose label is wrong."""


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Vectors of 60 pictures of two colors in two folders; one lies in the wrong one."""
    folder = tmp_path_factory.mktemp("taken")
    source = colored(30, 2)
    assert source.labels is not None
    for number, label in enumerate(source.labels):
        place = folder / "images" / f"color {label if number != SWAPPED else 1 - label}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(source.image(number).permute(1, 2, 0).numpy()).save(place / f"{number:02d}.png")
    opened = byol.open_source(folder / "images", 3)
    config = EmbedConfig(workers=1, precision="float32")
    embed(open_encoder("pixels@4"), opened, folder / "features.parquet", config, CPU)
    return folder / "features.parquet"


@pytest.mark.filterwarnings("ignore")  # cleanlab 2.9 uses what pandas 3.1 will take away
def test_cleanlab_finds_the_wrong_label(features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HOME", "HF_DATASETS_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / "hub"))
    cleanlab = pytest.importorskip("cleanlab")
    frame = pandas.read_parquet(features).dropna(subset="label")
    lab = cleanlab.Datalab({"label": frame["label"].tolist()}, label_name="label", verbosity=0)
    lab.find_issues(features=np.stack(frame["embedding"]), issue_types={"label": {}})
    issues = lab.get_issues("label")
    assert [Path(path).stem for path in frame["path"][issues["is_label_issue"]]] == [f"{SWAPPED:02d}"]
    assert issues["label_score"].idxmin() == list(frame["path"]).index(frame["path"][issues["is_label_issue"]].item())


def test_fiftyone_takes_the_vectors(features: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIFTYONE_DO_NOT_TRACK", "true")
    fiftyone: Any = pytest.importorskip("fiftyone")
    brain: Any = pytest.importorskip("fiftyone.brain")
    frame = pandas.read_parquet(features)
    samples = fiftyone.Dataset()
    samples.add_samples(
        [fiftyone.Sample(path, embedding=v) for path, v in zip(frame["path"], frame["embedding"], strict=True)]
    )
    np.testing.assert_array_equal(np.stack(samples.values("embedding")), np.stack(frame["embedding"]))
    assert samples.values("filepath") == frame["path"].tolist()
    found = brain.compute_visualization(samples, embeddings="embedding", method="pca")
    centered = torch.from_numpy(np.stack(frame["embedding"])).double()
    variances = torch.linalg.eigvalsh(torch.cov(centered.T))[-2:].flip(0)
    np.testing.assert_allclose(found.points.var(axis=0, ddof=1), variances, rtol=1e-4)


def test_lightly_studio_takes_the_images_of_a_list(
    features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIGHTLY_STUDIO_ANALYTICS_ENABLED", "false")
    studio: Any = pytest.importorskip("lightly_studio")
    monkeypatch.chdir(tmp_path)  # where it keeps its database
    paths = pandas.read_parquet(features)["path"][:5].tolist()
    dataset = studio.ImageDataset.create()
    for path in paths:
        dataset.add_images_from_path(path=path, embed=False)
    assert sorted(sample.file_path_abs for sample in dataset) == paths
