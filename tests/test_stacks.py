"""Stacks of images: HDF5, `.npz` and `.npy` in the layouts of PatchCamelyon, MedMNIST and others, by value."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from byol.data.formats.header import Header
from byol.data.sources.open import TensorSource, open_source, open_training
from byol.data.sources.parts import SeveralParts
from byol.data.sources.stacks import StackSource
from byol.errors import BadImage, UserError

h5py = pytest.importorskip("h5py", reason="HDF5 takes h5py")


def images(count: int, *shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def save_h5(path: Path, chunks: Any = None, **arrays: Any) -> None:
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            fits = chunks is not None and len(chunks) == values.ndim
            file.create_dataset(name, data=values, chunks=chunks if fits else None)


def pcam(folder: Path) -> dict[str, Any]:
    """The files of PatchCamelyon, smaller: images and labels of three parts, and masks of one."""
    stored = {}
    for number, part in enumerate(("train", "valid", "test")):
        stored[part] = images(6, 8, 8, 3, seed=number)
        stem = f"camelyonpatch_level_2_split_{part}"
        save_h5(folder / f"{stem}_x.h5", chunks=(4, 4, 4, 1), x=stored[part])
        save_h5(folder / f"{stem}_y.h5", y=np.array([0, 1] * 3, dtype=np.uint8).reshape(6, 1, 1, 1))
    save_h5(folder / "camelyonpatch_level_2_split_train_mask.h5", mask=images(6, 8, 8, 1))
    (folder / "camelyonpatch_level_2_split_train_meta.csv").write_text("coord_y,coord_x\n")
    return stored


def test_patchcamelyon_has_three_parts_and_its_labels_in_second_files(tmp_path: Path) -> None:
    stored = pcam(tmp_path)
    with pytest.raises(SeveralParts, match=f"{tmp_path}:train") as found:
        open_source(tmp_path)
    assert found.value.training == f"{tmp_path}:train"
    assert found.value.readings == [f"{tmp_path}:validation", f"{tmp_path}:test"]
    for part in ("train", "test", "valid"):
        source = open_source(f"{tmp_path}:{part}")
        assert isinstance(source, TensorSource), "chunks that cut across images are read whole"
        assert np.array_equal(source.images.numpy(), stored[part].transpose(0, 3, 1, 2))
        assert source.labels == [0, 1] * 3
    assert np.array_equal(open_training(tmp_path).image(5).numpy(), stored["train"][5].transpose(2, 0, 1))
    one = open_source(tmp_path / "camelyonpatch_level_2_split_test_x.h5")
    assert (len(one), one.labels) == (6, [0, 1] * 3), "its labels lie beside it"
    assert "6 x 8 x 8 x 3 is read as N x H x W x C" in one.notes[0]


def test_images_in_chunks_of_one_stay_on_the_disk(tmp_path: Path) -> None:
    stored = images(5, 6, 7, 3)
    for name, chunks in (("whole", None), ("ones", (1, 6, 7, 3))):
        save_h5(tmp_path / f"{name}.h5", chunks=chunks, images=stored)
        source = open_source(tmp_path / f"{name}.h5")
        assert isinstance(source, StackSource)
        assert (len(source), source.channels, source.labels) == (5, 3, None)
        assert source.header(0) == Header(height=6, width=7, channels=3, depth="8-bit")
        assert np.array_equal(source.image(3).numpy(), stored[3].transpose(2, 0, 1))
        assert source.where(3) == f"{tmp_path / name}.h5 images image 3"
        assert source.stored_bytes(0) == 6 * 7 * 3
    gray = open_source(tmp_path / "ones.h5", channels=1)
    assert gray.image(0).shape == (1, 6, 7)


def test_a_stack_that_must_be_read_whole_and_does_not_fit_says_how_to_rewrite_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_h5(tmp_path / "a.h5", chunks=(4, 4, 4, 1), x=images(6, 8, 8, 3))
    monkeypatch.setattr("byol.data.sources.stacks.free_memory", lambda: 1000)
    with pytest.raises(UserError, match=r"chunks \(4, 4, 4, 1\) hold parts .*h5repack -l x:CHUNK=1x8x8x3 a.h5 new.h5"):
        open_source(tmp_path / "a.h5")


def test_medmnist_has_parts_in_one_archive(tmp_path: Path) -> None:
    stored = {part: images(4, 28, 28, 3, seed=number) for number, part in enumerate(("train", "val", "test"))}
    labels = np.array([[2], [0], [1], [2]], dtype=np.uint8)
    arrays = {f"{part}_images": values for part, values in stored.items()}
    np.savez_compressed(tmp_path / "pathmnist.npz", **arrays, **{f"{part}_labels": labels for part in stored})
    with pytest.raises(SeveralParts, match=r"pathmnist.npz:train.* to train on"):
        open_source(tmp_path / "pathmnist.npz")
    source = open_source(f"{tmp_path / 'pathmnist.npz'}:val")
    assert np.array_equal(source.image(1).numpy(), stored["val"][1].transpose(2, 0, 1))
    assert source.labels == [2, 0, 1, 2]
    assert source.labels_from.endswith("pathmnist.npz val_labels")
    with pytest.raises(UserError, match="has no part 'unlabeled'; give"):
        open_source(f"{tmp_path / 'pathmnist.npz'}:unlabeled")


def test_several_labels_of_an_image_are_none_and_one_hot_is_one(tmp_path: Path) -> None:
    for name, labels in (("many", [[1, 1, 0], [0, 0, 0], [0, 1, 0]]), ("one", [[0, 0, 1], [1, 0, 0], [0, 1, 0]])):
        np.savez(tmp_path / f"{name}.npz", images=images(3, 8, 8), labels=np.array(labels))
    many, one = open_source(tmp_path / "many.npz"), open_source(tmp_path / "one.npz")
    assert (many.labels, many.channels) == (None, 1)
    assert many.remark == "labels has several labels for each image, so none is read"
    assert one.labels == [2, 0, 1]


def test_keras_and_pytorch_name_and_lay_out_arrays_otherwise(tmp_path: Path) -> None:
    names = np.array(["cat", "dog", "cat"])
    arrays = {"x_train": images(3, 9, 8), "y_train": names, "x_test": images(2, 9, 8), "y_test": names[:2]}
    np.savez(tmp_path / "mnist.npz", **arrays)
    source = open_source(f"{tmp_path / 'mnist.npz'}:train")
    assert (len(source), source.channels, source.classes, source.labels) == (3, 1, ["cat", "dog"], [0, 1, 0])
    deep = np.random.default_rng(0).integers(0, 65536, (3, 5, 20, 30)).astype(">u2")
    np.savez(tmp_path / "deep.npz", deep)
    source = open_source(tmp_path / "deep.npz")
    assert source.channels == 5
    torch.testing.assert_close(source.image(2), torch.from_numpy((deep[2] / 65535).astype(np.float32)))
    assert "3 x 5 x 20 x 30 is read as N x C x H x W" in source.notes[0]


def test_an_array_of_images_in_npy_with_its_labels_beside_it(tmp_path: Path) -> None:
    stored = images(4, 20, 30, 3)
    np.save(tmp_path / "images.npy", stored)
    np.save(tmp_path / "labels.npy", np.array([0, 1, -1, 0]))
    source = open_source(tmp_path / "images.npy")
    assert isinstance(source, StackSource)
    assert source.labels == [0, 1, -1, 0]
    assert np.array_equal(source.image(3).numpy(), stored[3].transpose(2, 0, 1))
    np.save(tmp_path / "picture.npy", images(20, 30, 3))
    with pytest.raises(UserError, match="is a single image"):
        open_source(tmp_path / "picture.npy")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": np.zeros((3, 28, 28, 28), np.uint8)}, r"shape \(3, 28, 28, 28\), which is no stack of images"),
        ({"features": np.zeros((3, 512))}, r"has no array of images \(features \(3, 512\)\)"),
        ({"images": np.zeros((3, 8, 8), np.uint8), "y": np.zeros(2)}, "but there are 3 images; give a label for each"),
        ({"x": np.zeros((3, 8, 8), np.uint8), "images": np.zeros((3, 8, 8), np.uint8)}, "several arrays of images"),
        ({"images": np.full((3, 8, 8), 7.5)}, "cannot be trained on: floating-point pixels from 7.5 to 7.5"),
        ({"images": np.array([[[None]]])}, "holds Python objects, which are not read"),
    ],
    ids=["volumes", "features", "labels", "two", "floats", "pickles"],
)
def test_what_is_no_stack_of_images_says_so(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(UserError, match=message):
        open_source(tmp_path / "a.npz")


def test_broken_files_and_a_missing_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_h5(tmp_path / "a.h5", x=images(3, 8, 8))
    (tmp_path / "cut.h5").write_bytes((tmp_path / "a.h5").read_bytes()[:1000])
    np.savez(tmp_path / "a.npz", x=images(3, 8, 8))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:300])
    for name in ("cut.h5", "cut.npz"):
        with pytest.raises(UserError, match=r"cannot be read .*fetch it again"):
            open_source(tmp_path / name)
    floats = np.stack([np.full((8, 8), 0.5), np.full((8, 8), np.nan)])
    save_h5(tmp_path / "nan.h5", x=floats)
    source = open_source(tmp_path / "nan.h5")
    assert source.image(0).unique().tolist() == [0.5]
    with pytest.raises(BadImage):
        source.image(1)
    from byol.data.formats import extras

    monkeypatch.setattr(extras, "_installed", lambda modules: False)
    with pytest.raises(UserError, match=r"is HDF5, which is read with an extra; run: pip install 'byol\[hdf5\]'"):
        open_source(tmp_path / "a.h5")
