"""`byol embed` and `byol.Embedder`: every readable image once, in order, with the values of a plain forward pass."""

import csv
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import byol
from byol.cli.main import main
from byol.encoders.load import open_encoder
from byol.errors import UserError
from byol.explore import embed as embedding
from byol.explore.embed import Chunks, EmbedConfig, Embedded, embed
from byol.explore.listing import printable
from byol.runtime import distributed
from conftest import picture
from evals_data import CPU, TINY, colored

ODD = '<img src=x onerror=alert(1)>, "quoted".png'
CONFIG = EmbedConfig(batch_size=3, workers=1, precision="float32")


@pytest.fixture(autouse=True)
def _features_below_a_folder_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BYOL_HOME", str(tmp_path / "home"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """22 pictures of two classes, one file that is no image, and one name that is markup."""
    for name in ("a", "b"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(11):
            picture(number + 100 * (name == "b"), 16, 16).save(tmp_path / "images" / name / f"{number:02d}.png")
    (tmp_path / "images" / "a" / "05.png").write_bytes(b"no image")
    (tmp_path / "images" / "b" / "05.png").rename(tmp_path / "images" / "b" / ODD)
    return tmp_path / "images"


def pixel_features(path: Path) -> np.ndarray:
    """What `pixels@16` makes of a picture of 16 x 16: (value / 255 - 0.5) / 0.25, channel by channel."""
    pixels = np.asarray(Image.open(path).convert("RGB"), dtype=np.float32)
    return ((pixels / 255 - 0.5) / 0.25).transpose(2, 0, 1).ravel()


def readable(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*.png"), key=str) if path.read_bytes() != b"no image"]


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return int(stop.value.code or 0)


def test_parquet_holds_every_readable_image_in_order(folder: Path, tmp_path: Path) -> None:
    assert run("embed", "pixels@16", folder, "--out", tmp_path / "f.parquet", "--precision", "float32") == 0
    table = pq.read_table(tmp_path / "f.parquet")
    paths = readable(folder)
    assert table["path"].to_pylist() == [str(path) for path in paths]
    assert table["index"].to_pylist() == [0, 1, 2, 3, 4, *range(6, 22)], "the sixth cannot be read"
    assert table["label"].to_pylist() == [path.parent.name for path in paths]
    wanted = np.stack([pixel_features(path) for path in paths])
    np.testing.assert_allclose(np.stack(table["embedding"].to_pylist()), wanted, atol=1e-6)
    origin = json.loads(table.schema.metadata[b"byol"])
    assert origin["encoder"]["name"] == "pixels@16"
    assert origin["data"]["images"] == 22
    assert not list(tmp_path.glob(".f.parquet*")), "the parts are gone"


def test_csv_and_npy_hold_the_same_values_to_the_last_bit(folder: Path, tmp_path: Path) -> None:
    for name in ("f.parquet", "v.npy", "f.csv"):
        assert run("embed", TINY, folder, "--out", tmp_path / name, "--precision", "float32") == 0
    table = pq.read_table(tmp_path / "f.parquet")
    wanted = np.array(table["embedding"].to_pylist(), dtype=np.float32)
    np.testing.assert_array_equal(np.load(tmp_path / "v.npy"), wanted)
    rows, names = (list(csv.reader((tmp_path / name).read_text().splitlines())) for name in ("f.csv", "v.names.csv"))
    assert rows[0] == ["index", "path", "label", *(f"f{number}" for number in range(64))]
    assert [row[:3] for row in rows] == names
    assert [row[1] for row in names[1:]] == table["path"].to_pylist()
    np.testing.assert_array_equal(np.array([row[3:] for row in rows[1:]], dtype=np.float32), wanted)


def test_an_interrupted_call_goes_on_where_it_was(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding, "CHUNK", 4)
    encoder, source = open_encoder("pixels@16"), byol.open_source(folder, 3)
    whole = embed(encoder, source, tmp_path / "whole.parquet", CONFIG, CPU)
    assert (whole.rows, whole.features, whole.unreadable, whole.resumed) == (21, 768, 1, 0)
    seen = []

    def stop(what: str, done: int, total: int) -> None:
        seen.append(done)
        if done > 12:
            raise KeyboardInterrupt

    stop.unreadable = None  # type: ignore[attr-defined]
    with pytest.raises(KeyboardInterrupt):
        embed(encoder, source, tmp_path / "again.parquet", CONFIG, CPU, stop)  # type: ignore[arg-type]
    assert not (tmp_path / "again.parquet").exists()
    parts = next(tmp_path.glob(".again.parquet.parts-*"))
    assert sorted(file.name for file in parts.iterdir()) == ["0.safetensors", "1.safetensors", "2.safetensors"]
    (parts / "1.safetensors").write_bytes(b"torn")
    result = embed(encoder, source, tmp_path / "again.parquet", CONFIG, CPU)
    assert result.resumed == 8, "two whole chunks of three"
    assert pq.read_table(tmp_path / "again.parquet").equals(pq.read_table(tmp_path / "whole.parquet"))


def test_other_weights_are_not_taken_for_stored_ones(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding, "CHUNK", 4)
    source = byol.open_source(folder, 3)
    chunks = {Chunks.beside(tmp_path / "f.csv", key, 4).folder for key in ("a", "b")}
    assert len(chunks) == 2
    for name in ("pixels@16", "pixels@8"):
        embed(open_encoder(name), source, tmp_path / "f.npy", CONFIG, CPU)
    assert np.load(tmp_path / "f.npy").shape == (21, 192)


def test_two_processes_write_the_file_of_one(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads stand for the processes: they have ranks, and wait for each other."""
    monkeypatch.setattr(embedding, "CHUNK", 4)
    encoder, source = open_encoder("pixels@16"), byol.open_source(folder, 3)
    one = embed(encoder, source, tmp_path / "one.parquet", CONFIG, CPU)
    own = threading.local()
    monkeypatch.setattr(distributed, "rank", lambda: own.rank)
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    monkeypatch.setattr(distributed, "barrier", threading.Barrier(2, timeout=60).wait)
    computed: list[list[int]] = [[], []]
    fill = Chunks.fill

    def noted_fill(chunks: Chunks, numbers: list[int], *rest: Any) -> None:
        computed[own.rank] = numbers
        fill(chunks, numbers, *rest)

    monkeypatch.setattr(Chunks, "fill", noted_fill)

    def process(rank: int) -> Embedded:
        own.rank = rank
        return embed(encoder, source, tmp_path / "two.parquet", CONFIG, CPU)

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(process, range(2))) == [one, one]
    assert computed == [[0, 2, 4], [1, 3, 5]]
    assert pq.read_table(tmp_path / "two.parquet").equals(pq.read_table(tmp_path / "one.parquet"))


def test_what_cannot_be_written_or_read_is_one_sentence(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"ends in '.pt', but vectors are written as \.parquet, \.npy, \.csv"):
        embed(open_encoder("pixels@16"), byol.open_source(folder, 3), tmp_path / "f.pt", CONFIG, CPU)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"No image of .*bad can be read"):
        embed(open_encoder("pixels@16"), byol.open_source(tmp_path / "bad", 3), tmp_path / "f.npy", CONFIG, CPU)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "home") == ["bad", "images"]


def test_a_table_among_the_images_would_be_taken_for_them(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("embed", "pixels@16", folder, "--out", folder / "f.parquet") == 2
    assert "f.parquet lies among the images" in capsys.readouterr().err
    assert not list(folder.glob("*.parquet"))


def test_labels_of_a_file_take_the_place_of_folders(folder: Path, tmp_path: Path) -> None:
    lines = [f"{path.relative_to(folder)},{'odd' if '1' in path.name else 'even'}" for path in readable(folder)[:-1]]
    (tmp_path / "labels.csv").write_text("path,label\n" + "\n".join(lines) + "\n")
    run("embed", "pixels@16", folder, "--out", tmp_path / "f.parquet", "--labels", tmp_path / "labels.csv")
    found = pq.read_table(tmp_path / "f.parquet")["label"].to_pylist()
    assert found == [line.rpartition(",")[2] for line in lines] + [None]


def test_names_that_are_no_utf8_are_kept_readable() -> None:
    assert printable(os.fsdecode(b"caf\xe9.png")) == "caf\\xe9.png"
    assert printable("café.png") == "café.png"


def test_readers_of_tables_take_the_file(folder: Path, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    run("embed", "pixels@16", folder, "--out", tmp_path / "f.parquet", "--precision", "float32")
    wanted = np.stack([pixel_features(path) for path in readable(folder)])
    frame = pandas.read_parquet(tmp_path / "f.parquet")
    np.testing.assert_allclose(np.stack(frame["embedding"]), wanted, atol=1e-6)


def test_duckdb_takes_the_file(folder: Path, tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    run("embed", "pixels@16", folder, "--out", tmp_path / "f.parquet", "--precision", "float32")
    first = [pixel_features(path) for path in readable(folder)]
    cosines = [v @ first[0] / np.linalg.norm(v) / np.linalg.norm(first[0]) for v in first]
    query = (
        f"select a.path, list_cosine_similarity(a.embedding, b.embedding) as s "
        f"from '{tmp_path}/f.parquet' a, '{tmp_path}/f.parquet' b where b.index = 0 order by a.index"
    )
    found = duckdb.sql(query).fetchall()
    np.testing.assert_allclose([row[1] for row in found], cosines, atol=1e-5)


def test_datasets_of_hugging_face_take_the_file(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HOME", "HF_DATASETS_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / "hub"))
    datasets = pytest.importorskip("datasets")
    run("embed", "pixels@16", folder, "--out", tmp_path / "f.parquet", "--precision", "float32")
    read = datasets.Dataset.from_parquet(str(tmp_path / "f.parquet"), cache_dir=str(tmp_path / "cache"))
    assert read.column_names == ["index", "path", "label", "embedding"]
    assert list(read["path"]) == [str(path) for path in readable(folder)]
    vectors = read.with_format("numpy", columns=["embedding"])[:]["embedding"]
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, np.stack([pixel_features(path) for path in readable(folder)]), atol=1e-6)


def test_the_embedder_gives_the_values_of_the_file(folder: Path, tmp_path: Path) -> None:
    paths = readable(folder)
    run("embed", TINY, paths[0].parent, "--out", tmp_path / "f.npy", "--precision", "float32")
    some = byol.open_source(folder / "a", 3)
    embedder = byol.Embedder(TINY, precision="float32").fit(some)
    of_paths = embedder.transform(paths[:10])
    np.testing.assert_array_equal(of_paths, np.load(tmp_path / "f.npy"))
    pictures = [Image.open(path) for path in paths[:10]]
    arrays = np.stack([np.asarray(each) for each in pictures])
    for given in (pictures, arrays, arrays.transpose(0, 3, 1, 2), torch.from_numpy(arrays)):
        np.testing.assert_allclose(embedder.transform(given), of_paths, atol=1e-6)
    assert list(embedder.get_feature_names_out())[-1] == "embedder63"


def test_the_embedder_is_a_step_of_a_pipeline() -> None:
    source = colored(20, 3)
    images, labels = source.images.numpy(), np.array(source.labels)
    pipeline = make_pipeline(byol.Embedder("pixels@16"), LogisticRegression())
    pipeline.fit(images[:40], labels[:40])
    assert pipeline.score(images[40:], labels[40:]) == 1.0, "classes are colors"
    assert clone(pipeline)[0].get_params() == pipeline[0].get_params()


@pytest.mark.parametrize("given", [7, [], [7, "x"], {"a": 1}])
def test_what_is_no_image_is_refused(given: object) -> None:
    with pytest.raises(UserError, match="give a path, a list of paths or of PIL images, or an array"):
        byol.Embedder("pixels").transform(given)


def test_the_embedder_passes_over_nothing(folder: Path) -> None:
    with pytest.raises(UserError, match=r"05\.png cannot be read \(1 of 22 images cannot\)"):
        byol.Embedder("pixels").transform(str(folder))
