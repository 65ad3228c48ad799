"""OME-Zarr: which planes are images, at which size, with which channels and ranges; stores of Zarr 2 and 3."""

import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from byol.config.reading import ReadingConfig
from byol.config.values import to_json
from byol.data.contents import content_digest, state_digest
from byol.data.formats.header import Header
from byol.data.formats.ome_metadata import codecs_of
from byol.data.pack import pack
from byol.data.reading import reading_as
from byol.data.sources.members import _said
from byol.data.sources.open import Source, open_source
from byol.errors import BadImage, UserError
from conftest import picture

zarr = pytest.importorskip("zarr", reason="OME-Zarr takes zarr")

AXES = ("t", "c", "z", "y", "x")
FORMATS = (2, 3)


def stack(*shape: int, dtype: str = "uint16") -> np.ndarray:
    """Values that all differ, up to a few thousand."""
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def image(
    group: Any, levels: Sequence[np.ndarray], axes: Any = AXES, omero: dict[str, Any] | None = None, version: str = ""
) -> None:
    """Write an image into a group of zarr, in chunks of one plane of 16 x 16."""
    version = version or ("0.4" if group.metadata.zarr_format == 2 else "0.5")
    for number, values in enumerate(levels):
        chunks = tuple(1 if size < 8 else min(size, 16) for size in values.shape)
        more = {"chunk_key_encoding": {"name": "v2", "separator": "/"}} if group.metadata.zarr_format == 2 else {}
        group.create_array(str(number), shape=values.shape, chunks=chunks, dtype=values.dtype, **more)[:] = values
    scales: dict[str, Any] = {"datasets": [{"path": str(number)} for number in range(len(levels))]}
    if axes is not None:
        named = version in ("0.4", "0.5")
        scales["axes"] = [{"name": axis, "type": "?"} for axis in axes] if named else list(axes)
    said = {"multiscales": [scales], **({"omero": omero} if omero else {})}
    group.attrs.update({"ome": {"version": version, **said}} if version == "0.5" else said)


def store(path: Path, zarr_format: int = 2) -> Any:
    return zarr.open_group(path, mode="w", zarr_format=zarr_format)


def read(path: Path | str, **settings: Any) -> Source:
    with reading_as(ReadingConfig(**settings)):
        return open_source(path)


def images(source: Source) -> list[np.ndarray]:
    return [source.image(index).numpy() for index in range(len(source))]


@pytest.mark.parametrize("zarr_format", FORMATS)
def test_each_plane_of_the_first_time_is_an_image_with_all_channels(zarr_format: int, tmp_path: Path) -> None:
    values = stack(2, 3, 4, 20, 30)
    image(store(tmp_path / "a.ome.zarr", zarr_format), [values])
    source = read(tmp_path / "a.ome.zarr")
    assert (len(source), source.channels) == (4, 3)
    for plane, found in enumerate(images(source)):
        np.testing.assert_array_equal(found, values[0, :, plane] / np.float32(65535))
    assert source.header(1) == Header(height=20, width=30, channels=3, depth="16-bit")
    assert source.where(2) == f"{tmp_path / 'a.ome.zarr'} plane 2"
    assert source.stored_bytes(0) == 3 * 20 * 30 * 2
    (note,) = source.notes
    assert note.startswith(
        "OME-Zarr: all planes, the first time, all channels, at the smallest stored size with 512 px"
    )


@pytest.mark.parametrize("zarr_format", FORMATS)
def test_planes_and_times_are_read_as_asked(zarr_format: int, tmp_path: Path) -> None:
    values = stack(2, 3, 4, 9, 8, dtype="uint8")
    image(store(tmp_path / "a.zarr", zarr_format), [values])
    path = tmp_path / "a.zarr"
    every = images(read(path, times="all"))
    np.testing.assert_array_equal(every, [values[time, :, plane] for time in range(2) for plane in range(4)])
    (middle,) = images(read(path, planes="middle"))
    np.testing.assert_array_equal(middle, values[0, :, 2])
    brightest = images(read(path, planes="brightest", times="all"))
    np.testing.assert_array_equal(brightest, [values[time].max(axis=1) for time in range(2)])
    channels = read(path, times="channels", planes="middle")
    assert channels.channels == 6
    np.testing.assert_array_equal(images(channels)[0], values[:, :, 2].reshape(6, 9, 8))
    assert channels.image(0).dtype == torch.uint8


@pytest.mark.parametrize(("side", "level"), [(1, 2), (16, 2), (17, 1), (32, 1), (33, 0), (64, 0), (512, 0)])
def test_the_smallest_size_that_is_large_enough_is_read(side: int, level: int, tmp_path: Path) -> None:
    sizes = ((70, 64), (35, 32), (17, 16))
    levels = [np.full((1, 1, 1, *size), number, dtype="uint8") for number, size in enumerate(sizes)]
    image(store(tmp_path / "a.zarr"), levels)
    source = read(tmp_path / "a.zarr", pyramid_side=side)
    found = source.image(0)
    assert (tuple(found.shape), int(found.unique())) == ((1, *sizes[level]), level)
    assert source.header(0) == Header(height=sizes[level][0], width=sizes[level][1], channels=1, depth="8-bit")


@pytest.mark.parametrize(
    ("version", "axes", "shape"),
    [
        ("0.1", None, (1, 2, 1, 9, 8)),
        ("0.3", ("c", "y", "x"), (2, 9, 8)),
        ("0.4", ("c", "y", "x"), (2, 9, 8)),
        ("0.4", ("y", "x", "c"), (9, 8, 2)),
        ("0.4", ("q", "c", "x", "y"), (1, 2, 8, 9)),
    ],
)
def test_axes_of_every_version(version: str, axes: Any, shape: tuple[int, ...], tmp_path: Path) -> None:
    values = stack(*shape, dtype="uint8")
    image(store(tmp_path / "a.zarr"), [values], axes, version=version)
    (found,) = images(read(tmp_path / "a.zarr"))
    assert found.shape == (2, 9, 8)
    for channel, row, column in ((0, 0, 0), (1, 8, 3), (1, 2, 7)):
        at = {"c": channel, "y": row, "x": column}
        assert found[channel, row, column] == values[tuple(at.get(axis, 0) for axis in axes or AXES)]


@pytest.mark.parametrize("zarr_format", FORMATS)
def test_values_without_a_range_use_the_windows_of_the_store(zarr_format: int, tmp_path: Path) -> None:
    values = stack(1, 2, 1, 10, 10, dtype="float32") * 3 - 50
    omero = {"channels": [{"window": {"start": 0, "end": 100}}, {"window": {"start": 200, "end": 300, "min": 0}}]}
    image(store(tmp_path / "a.zarr", zarr_format), [values], omero=omero)
    limits = np.array([[[0, 100]], [[200, 300]]], dtype="float32")
    expected = np.clip((values[0, :, 0] - limits[..., :1]) / 100, 0, 1)
    for window in ("auto", "file"):
        np.testing.assert_allclose(images(read(tmp_path / "a.zarr", window=window))[0], expected, atol=1e-6)
    hounsfield = images(read(tmp_path / "a.zarr", window="hounsfield", hounsfield=(-50, 547)))[0]
    np.testing.assert_allclose(hounsfield, (values[0, :, 0] + 50) / 597, atol=1e-6)


def test_without_windows_percentiles_of_the_coarsest_size_count_for_all_planes(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    fine, coarse = (random.normal(100, 30, (1, 2, 3, side, side)).astype("float32") for side in (32, 16))
    coarse[0, 1] += 400
    coarse[0, 0, 0, 0, 0] = np.nan
    fine[0, 0, 2, 1, 1] = np.nan
    image(store(tmp_path / "a.zarr"), [fine, coarse])
    found = images(read(tmp_path / "a.zarr"))
    for channel in range(2):
        low, high = np.nanpercentile(coarse[0, channel], (0.5, 99.5))
        expected = np.clip((fine[0, channel] - low) / (high - low), 0, 1)
        np.testing.assert_allclose([each[channel] for each in found], np.nan_to_num(expected), atol=1e-5)


def test_16_bits_stay_as_they_are_unless_another_window_is_asked_for(tmp_path: Path) -> None:
    values = stack(1, 1, 1, 10, 10) + 1000
    image(store(tmp_path / "a.zarr"), [values], omero={"channels": [{"window": {"start": 1000, "end": 1099}}]})
    np.testing.assert_array_equal(images(read(tmp_path / "a.zarr"))[0], values[0, 0] / np.float32(65535))
    source = read(tmp_path / "a.zarr", window="file")
    np.testing.assert_allclose(images(source)[0][0], stack(10, 10) / 99, atol=1e-6)
    assert source.header(0).depth == "float"


@pytest.mark.parametrize("zarr_format", FORMATS)
def test_fields_of_plates_and_series_are_images_and_masks_are_not(zarr_format: int, tmp_path: Path) -> None:
    plate = store(tmp_path / "plate.zarr", zarr_format)

    def says(group: Any, said: dict[str, Any]) -> None:
        group.attrs.update(said if zarr_format == 2 else {"ome": {"version": "0.5", **said}})

    says(plate, {"plate": {"wells": [{"path": "B/2"}, {"path": "A/1"}]}})
    for number, path in enumerate(("B/2", "A/1")):
        well = plate.create_group(path)
        says(well, {"well": {"images": [{"path": "0"}, {"path": "1"}]}})
        for field in range(2):
            image(well.create_group(str(field)), [np.full((1, 1, 1, 8, 8), 10 * number + field, dtype="uint8")])
    source = read(tmp_path / "plate.zarr")
    assert [int(each[0, 0, 0]) for each in images(source)] == [0, 1, 10, 11]

    series = store(tmp_path / "series.zarr", zarr_format)
    says(series, {"bioformats2raw.layout": 3})
    for number in range(3):
        image(series.create_group(str(number)), [np.full((1, 1, 1 + number, 8, 8), number, dtype="uint8")])
    image(series["0"].create_group("labels/cells"), [np.full((1, 1, 1, 8, 8), 99, dtype="uint8")])
    assert [int(each[0, 0, 0]) for each in images(read(tmp_path / "series.zarr"))] == [0, 1, 1, 2, 2, 2]
    says(series.create_group("OME"), {"series": ["2", "0"]})
    copy = tmp_path / "other.zarr"
    (tmp_path / "series.zarr").rename(copy)
    assert [int(each[0, 0, 0]) for each in images(read(copy))] == [2, 2, 2, 0]


def test_stores_in_folders_lists_and_patterns(tmp_path: Path) -> None:
    for number, place in enumerate(("cat/a.zarr", "cat/b.ome.zarr", "dog/c.zarr")):
        image(store(tmp_path / place), [np.full((1, 1, 2, 8, 8), number, dtype="uint8")])
    source = read(tmp_path)
    assert [int(each[0, 0, 0]) for each in images(source)] == [0, 0, 1, 1, 2, 2]
    assert (source.labels, source.classes) == ([0, 0, 0, 0, 1, 1], ["cat", "dog"])
    assert source.groups is not None
    assert len(set(source.groups)) == 3, "planes of one image are a group"
    assert len(read(str(tmp_path / "cat" / "*.zarr"))) == 4
    (tmp_path / "list.csv").write_text("path,label\ndog/c.zarr,dog\ncat/a.zarr,cat\n")
    listed = read(tmp_path / "list.csv")
    assert [int(each[0, 0, 0]) for each in images(listed)] == [2, 2, 0, 0]
    assert listed.labels == [1, 1, 0, 0]
    (tmp_path / "cat" / "a.zarr").rename(tmp_path / "without-a-suffix")
    assert len(read(tmp_path / "without-a-suffix")) == 2, "it is told by what lies in it"


def test_a_store_is_told_by_what_lies_in_it(tmp_path: Path) -> None:
    image(store(tmp_path / "all" / "without_a_suffix"), [stack(1, 1, 2, 20, 20)])
    assert len(open_source(tmp_path / "all")) == 2
    assert len(open_source(str(tmp_path / "all" / "**"))) == 2, "not what lies in it, too"
    (tmp_path / "pictures.zarr").mkdir()
    for number in range(3):
        picture(number).save(tmp_path / "pictures.zarr" / f"{number}.png")
    assert len(open_source(tmp_path / "pictures.zarr")) == 3


def test_windows_without_numbers_are_none(tmp_path: Path) -> None:
    values = stack(1, 1, 1, 20, 20, dtype="int16")
    channel = {"window": {"start": None, "end": 1}}
    image(store(tmp_path / "a.zarr"), [values], omero={"channels": [channel]})
    image(store(tmp_path / "b.zarr"), [values])
    one, other = (read(tmp_path / name).image(0) for name in ("a.zarr", "b.zarr"))
    torch.testing.assert_close(one, other)


def test_an_array_alone_is_told(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "a.zarr", shape=(4, 4), dtype="uint8", zarr_format=3)
    with pytest.raises(BadImage, match="a Zarr array without OME's description"):
        read(tmp_path / "a.zarr").image(0)


def test_settings_that_came_later_change_no_fingerprint_unless_given(tmp_path: Path) -> None:
    image(store(tmp_path / "a.zarr"), [stack(1, 1, 2, 20, 20)])
    one, same, other = (
        read(tmp_path / "a.zarr", **said).fingerprint() for said in ({}, {"planes": "all"}, {"tile": 64})
    )
    assert one == same != other
    assert _said(ReadingConfig()) == {
        name: value for name, value in to_json(ReadingConfig()).items() if name not in ("planes", "pyramid_side")
    }
    assert _said(ReadingConfig(pyramid_side=64))["pyramid_side"] == 64


def test_a_change_in_a_chunk_is_noticed_and_a_copy_is_the_same(tmp_path: Path) -> None:
    digests = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        group = store(tmp_path / name / "a.zarr")
        image(group, [stack(1, 1, 2, 8, 8)])
        digests.append((read(tmp_path / name).fingerprint(), content_digest(read(tmp_path / name))))
    assert digests[0] == digests[1]
    before = state_digest(read(tmp_path / "two"))
    group["0"][0, 0, 1, 3, 3] = 7
    after = read(tmp_path / "two")
    assert state_digest(after) != before
    assert content_digest(after) != digests[1][1]


def test_planes_are_packed(tmp_path: Path) -> None:
    values = stack(1, 2, 3, 9, 8)
    image(store(tmp_path / "a.zarr", 3), [values])
    pack(read(tmp_path / "a.zarr"), tmp_path / "out")
    np.testing.assert_allclose(images(open_source(tmp_path / "out")), values[0].swapaxes(0, 1) / 65535, atol=1e-7)


class Trap:
    """What runs when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("raise SystemExit('a pickle was run')",)


def test_what_is_no_picture_is_refused_in_a_sentence_and_no_pickle_is_run(tmp_path: Path) -> None:
    def bad(name: str, write: Any) -> str:
        write(store(tmp_path / name / "a.zarr"))
        source = read(tmp_path / name)
        with pytest.raises(BadImage) as error:
            source.image(0)
        return str(error.value)

    plain = np.zeros((8, 8), dtype="uint8")
    assert "says nothing of multiscales" in bad(
        "plain", lambda group: group.create_array("0", shape=(8, 8), dtype="u1")
    )
    assert "it must have y and x" in bad("axes", lambda group: image(group, [plain], ("z", "y")))
    assert "does not go with the axes" in bad("shape", lambda group: image(group, [plain], ("c", "y", "x")))
    assert "the axis 'q' is not read" in bad("other", lambda group: image(group, [stack(2, 8, 8)], ("q", "y", "x")))
    assert "complex64 are not read" in bad("complex", lambda group: image(group, [plain.astype("c8")], ("y", "x")))

    def gone(group: Any) -> None:
        image(group, [plain], ("y", "x"))
        del group["0"]

    assert bad("gone", gone).startswith("corrupt or truncated")

    def large(group: Any) -> None:
        group.create_array("0", shape=(10**6, 10**6), chunks=(10**5, 10**5), dtype="u1")
        group.attrs["multiscales"] = [{"axes": ["y", "x"], "datasets": [{"path": "0"}]}]

    assert "chunks of more than 178 million values" in bad("large", large)

    for place in ("filters", "compressor"):

        def trap(group: Any, place: str = place) -> None:
            image(group, [plain], ("y", "x"))
            (about,) = (tmp_path / place).rglob(".zarray")
            said = json.loads(about.read_text()) | {"filters": None, "compressor": None}
            codec = {"id": "pickle", "protocol": 5}
            about.write_text(json.dumps(said | {place: [codec] if place == "filters" else codec}))
            (about.parent / "0").mkdir(exist_ok=True)
            (about.parent / "0" / "0").write_bytes(pickle.dumps(Trap()))

        assert "'pickle'" in bad(place, trap), "refused by zarr itself, or before a chunk is read"


def test_codecs_within_shards_are_seen() -> None:
    inner = {"codecs": [{"name": "bytes"}, {"name": "numcodecs.zlib"}], "index_codecs": [{"name": "strange"}]}
    assert codecs_of({"codecs": [{"name": "sharding_indexed", "configuration": inner}]}) == {
        *("sharding_indexed", "bytes", "zlib", "strange")
    }
    assert codecs_of({"filters": None, "compressor": {"id": "blosc"}}) == {"blosc"}


def test_shards_of_zarr_are_read(tmp_path: Path) -> None:
    values = stack(1, 1, 2, 32, 32)
    group = store(tmp_path / "a.zarr", 3)
    group.create_array("0", shape=values.shape, chunks=(1, 1, 1, 8, 8), shards=(1, 1, 2, 16, 16), dtype="u2")[:] = (
        values
    )
    scales = [{"axes": [{"name": axis} for axis in AXES], "datasets": [{"path": "0"}]}]
    group.attrs["ome"] = {"version": "0.5", "multiscales": scales}
    np.testing.assert_array_equal(images(read(tmp_path / "a.zarr")), values[0].swapaxes(0, 1) / np.float32(65535))


def test_without_zarr_one_sentence_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from byol.data.formats import extras

    image(store(tmp_path / "a.zarr"), [stack(1, 1, 1, 8, 8)])
    monkeypatch.setattr(extras, "_installed", lambda modules: False)
    with pytest.raises(UserError, match=r"only 1 other files \(\.zarr\).* pip install 'byol\[zarr\]'"):
        open_source(tmp_path)
    with pytest.raises(UserError, match=r"is OME-Zarr, .* pip install 'byol\[zarr\]'"):
        open_source(tmp_path / "a.zarr")
