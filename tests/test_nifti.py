"""NIfTI: orientation, slope, the axis of slices and the intensities of a volume, by value."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from byol.config.reading import ReadingConfig
from byol.data.formats.header import Header
from byol.data.reading import reading_as
from byol.data.sources.base import Source
from byol.data.sources.members import MemberSource
from byol.data.sources.open import open_source
from byol.errors import BadImage, UserError

nibabel = pytest.importorskip("nibabel", reason="NIfTI takes nibabel")

SHIPPED = Path(nibabel.__file__).parent / "tests" / "data"


def save(path: Path, values: Any, affine: Any = None, **header: float) -> None:
    """A volume; by default of voxels of 1 x 1 x 2 mm that run to the right, the front and the head."""
    image = nibabel.Nifti1Image(values, np.diag([1.0, 1.0, 2.0, 1.0]) if affine is None else affine)
    if header:
        image.header.set_slope_inter(header["slope"], header["intercept"])
    nibabel.save(image, path)


def read(path: Path, **reading: Any) -> Source:
    with reading_as(ReadingConfig(**{"empty_slices": True, "masks": True, **reading})):
        return open_source(path)


def ramp(*shape: int) -> Any:
    """A volume whose values are all different, from 0 on."""
    return np.arange(np.prod(shape)).reshape(shape).astype(np.int16)


def between_percentiles(values: Any) -> Any:
    low, high = np.percentile(values, (1, 99))
    return ((values - low) / (high - low)).clip(0, 1)


def test_an_axial_slice_is_upright_with_the_front_up(tmp_path: Path) -> None:
    values = ramp(4, 5, 3)  # x to the right, y to the front, z to the head
    save(tmp_path / "a.nii", values)
    source = read(tmp_path)
    assert isinstance(source, MemberSource)
    assert (len(source), source.channels) == (3, 1)
    assert source.header(0) == Header(height=5, width=4, channels=1, depth="16-bit")
    wanted = between_percentiles(values.astype(float))
    for number in range(3):
        image = source.image(number)[0]
        for row in range(5):
            for column in range(4):
                assert float(image[row, column]) == pytest.approx(wanted[column, 4 - row, number], abs=1e-6)
    assert source.where(2) == f"{tmp_path / 'a.nii'} slice 2"


@pytest.mark.parametrize("codes", ["RAS", "LAS", "LPI", "PSR", "SAL"])
def test_the_way_a_volume_is_stored_does_not_matter(tmp_path: Path, codes: str) -> None:
    image = nibabel.Nifti1Image(ramp(4, 5, 3), np.diag([1.0, 1.0, 2.0, 1.0]))
    turn = nibabel.orientations.ornt_transform(
        nibabel.io_orientation(image.affine), nibabel.orientations.axcodes2ornt(tuple(codes))
    )
    nibabel.save(image.as_reoriented(turn), tmp_path / "turned.nii.gz")
    nibabel.save(image, tmp_path / "upright.nii.gz")
    source = read(tmp_path)
    assert len(source) == 6
    for number in range(3):
        assert torch.equal(source.image(number), source.image(number + 3))


def test_slices_are_across_the_coarsest_axis_or_axial_or_as_asked(tmp_path: Path) -> None:
    save(tmp_path / "coronal.nii", ramp(4, 5, 6), np.diag([1, 3, 1.5, 1]))
    save(tmp_path / "isotropic.nii", ramp(4, 5, 6), np.diag([1, 1.01, 1, 1]))
    save(tmp_path / "flat.nii", ramp(4, 1, 6), np.diag([1, 1, 3, 1]))
    found = {name: read(tmp_path / f"{name}.nii") for name in ("coronal", "isotropic", "flat")}
    assert {name: len(source) for name, source in found.items()} == {"coronal": 5, "isotropic": 6, "flat": 1}
    assert (found["coronal"].header(0).height, found["coronal"].header(0).width) == (6, 4)
    sagittal = read(tmp_path / "coronal.nii", slices="sagittal")
    assert (len(sagittal), sagittal.header(0).height, sagittal.header(0).width) == (4, 6, 5)
    # the head is up and the front on the right: the first row is z = 5, the last column y = 4
    wanted = between_percentiles(ramp(4, 5, 6).astype(float))
    assert float(sagittal.image(3)[0, 0, 4]) == pytest.approx(wanted[3, 4, 5], abs=1e-6)


def test_slope_and_intercept_count_and_windows_of_ct_are_in_units(tmp_path: Path) -> None:
    save(tmp_path / "ct.nii", np.array([[[0, 1000, 2000, 3000]]], dtype=np.int16), slope=1, intercept=-1000)
    source = read(tmp_path, window="hounsfield", slices="axial")
    assert [source.image(number).item() for number in range(4)] == [0, 0.5, 1, 1]
    assert "Hounsfield units -1000 to 1000" in source.notes[0]


def test_the_shipped_brain_is_what_nibabel_reads() -> None:
    """Big-endian and stored from right to left."""
    source = read(SHIPPED / "anatomical.nii")
    values = nibabel.as_closest_canonical(nibabel.load(SHIPPED / "anatomical.nii")).get_fdata()
    assert len(source) == 25, "voxels are alike on all sides, so slices are axial"
    wanted = between_percentiles(values)[:, :, 12].T[::-1]
    torch.testing.assert_close(source.image(12)[0].double(), torch.from_numpy(wanted.copy()), atol=1e-6, rtol=0)


def test_of_several_times_the_first_or_all_or_channels() -> None:
    file = SHIPPED / "example4d.nii.gz"
    values = nibabel.as_closest_canonical(nibabel.load(file)).get_fdata()
    first, every, channels = (read(file, times=times) for times in ("first", "all", "channels"))
    assert (len(first), len(every), len(channels)) == (24, 48, 24)
    assert (first.channels, every.channels, channels.channels) == (1, 1, 2)
    second = torch.from_numpy(between_percentiles(values[..., 1])[:, :, 7].T[::-1].copy())
    # a million of 295,000 voxels are all of them, so the percentiles are exact
    torch.testing.assert_close(every.image(24 + 7)[0].double(), second, atol=1e-6, rtol=0)
    torch.testing.assert_close(channels.image(7)[1].double(), second, atol=1e-6, rtol=0)
    assert torch.equal(first.image(7), every.image(7))


def test_what_is_no_number_is_black() -> None:
    source = read(SHIPPED / "resampled_anat_moved.nii", masks=False)
    values = nibabel.as_closest_canonical(nibabel.load(SHIPPED / "resampled_anat_moved.nii")).get_fdata()
    lacking = np.isnan(values[:, :, 1]).T[::-1]
    image = source.image(1)[0]
    assert lacking.any()
    assert not image[torch.from_numpy(lacking.copy())].any()
    assert image.isfinite().all()
    assert image.max() > 0.5


def test_empty_slices_and_masks_are_left_out_and_counted(tmp_path: Path) -> None:
    values = np.zeros((20, 20, 4), dtype=np.int16)
    values[5:15, 5:15, 1:3] = np.arange(200).reshape(10, 10, 2) + 300
    values[0, 0, 3] = 400  # one bright pixel of 400, less than 1 %
    save(tmp_path / "brain.nii.gz", values)
    save(tmp_path / "mask.nii.gz", (values > 0).astype(np.uint8))
    source = open_source(tmp_path)
    assert [source.where(number).rsplit(" ", 1)[1] for number in range(len(source))] == ["1", "2"]
    assert "1 of 2 files hold no image (1 with masks (at most 32 whole numbers))" in source.remark
    assert "empty slices left out" in source.notes[0]
    assert len(read(tmp_path)) == 8


def test_folders_of_images_and_of_masks_are_no_classes(tmp_path: Path) -> None:
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
        for number in range(2):
            values = ramp(8, 8, 3) if folder == "images" else np.ones((8, 8, 3), dtype=np.uint8)
            save(tmp_path / folder / f"sub-{number}_T1w.nii.gz", values)
    source = open_source(tmp_path)
    assert (len(source), source.labels, source.classes, source.labels_from) == (6, None, None, "")
    assert source.groups is not None
    assert len(set(source.groups)) == 2


def test_colors_stay_as_they_are(tmp_path: Path) -> None:
    values = np.zeros((2, 3, 2), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    values["R"][1, 2, 0], values["B"][0, 0, 1] = 200, 7
    save(tmp_path / "rgb.nii", values)
    source = read(tmp_path)
    assert (source.channels, source.header(0)) == (3, Header(height=3, width=2, channels=3, depth="8-bit"))
    assert source.image(0)[:, 0, 1].tolist() == [200, 0, 0], "x = 1 is on the right, y = 2 in the first row"
    assert source.image(1)[:, 2, 0].tolist() == [0, 0, 7]


def test_broken_volumes_are_bad_images(tmp_path: Path) -> None:
    save(tmp_path / "a.nii.gz", ramp(8, 8, 8))
    (tmp_path / "cut.nii.gz").write_bytes((tmp_path / "a.nii.gz").read_bytes()[:200])
    (tmp_path / "empty.nii").write_bytes(b"")
    (tmp_path / "text.nii").write_text("no volume" * 100)
    save(tmp_path / "complex.nii", np.ones((2, 2, 2), dtype=np.complex64))
    save(tmp_path / "nan.nii", np.full((2, 2, 2), np.nan, dtype=np.float32))
    source = read(tmp_path)
    bad = []
    for index in range(len(source)):
        try:
            source.image(index)
        except BadImage:
            bad.append(Path(source.where(index)).name)
    assert bad == ["complex.nii", "cut.nii.gz", "empty.nii", "nan.nii", "text.nii"]


def test_without_nibabel_one_sentence_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from byol.data.formats import extras

    monkeypatch.setattr(extras, "_installed", lambda modules: False)
    save(tmp_path / "a.nii.gz", ramp(2, 2, 2))
    with pytest.raises(UserError, match=r"only 1 other files \(\.nii\.gz\).* pip install 'byol\[nifti\]'"):
        open_source(tmp_path)
