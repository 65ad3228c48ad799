"""DICOM: windows, polarity, padding, frames and colors, against values worked by hand and pydicom's own processing."""

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import byol
from byol.config.reading import ReadingConfig
from byol.data.formats.decode import decode, read_header
from byol.data.formats.header import Header
from byol.data.label_file import LABEL_COLUMNS, LabelFile
from byol.data.labeling import Labeling, label_images
from byol.data.reading import reading_as
from byol.data.sources.files import FileSource
from byol.data.sources.members import MemberSource
from byol.data.sources.open import open_source
from byol.errors import BadImage, UserError

pydicom = pytest.importorskip("pydicom", reason="DICOM takes pydicom")

FILES = Path(pydicom.__file__).parent / "data" / "test_files"
EXPLICIT = "1.2.840.10008.1.2.1"


def shipped(name: str) -> Path:
    return next(FILES.rglob(name))


def scan(values: Any, **tags: Any) -> bytes:
    """A file of one frame of 16 bits, signed where the values are."""
    from pydicom.dataset import FileDataset, FileMetaDataset

    stored = np.asarray(values)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.UID(EXPLICIT)
    meta.MediaStorageSOPClassUID = pydicom.uid.UID("1.2.840.10008.5.1.4.1.1.2")
    meta.MediaStorageSOPInstanceUID = pydicom.uid.UID("1.2.3")
    data = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    data.SOPClassUID = meta.MediaStorageSOPClassUID
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.Rows, data.Columns = stored.shape[-2:]
    if stored.ndim == 3:
        data.NumberOfFrames = len(stored)
    data.BitsAllocated = data.BitsStored = 8 * stored.dtype.itemsize
    data.HighBit, data.PixelRepresentation = data.BitsStored - 1, int(stored.dtype.kind == "i")
    for name, value in tags.items():
        setattr(data, name, value)
    data.PixelData = stored.tobytes()
    file = io.BytesIO()
    data.save_as(file)
    return file.getvalue()


CT = {"Modality": "CT", "RescaleSlope": "1", "RescaleIntercept": "-1024"}


def test_ct_has_one_window_for_the_whole_set_whatever_its_files_say() -> None:
    # HU -1000, 0, 500, 1000 and 2000; by -1000 to 1000 they are 0, 1/2, 3/4, 1 and 1
    stored = np.array([[24, 1024, 1524, 2024, 3024]], dtype=np.int16)
    image = decode(scan(stored, **CT, WindowCenter="40", WindowWidth="400"))
    torch.testing.assert_close(image, torch.tensor([[[0, 0.5, 0.75, 1, 1]]]))


def test_padding_below_air_is_black_and_signed_values_are_signed() -> None:
    stored = np.array([[-2000, -1000, 0, 1000]], dtype=np.int16)
    tags = {**CT, "RescaleIntercept": "0", "PixelPaddingValue": -2000}
    torch.testing.assert_close(decode(scan(stored, **tags)), torch.tensor([[[0, 0, 0.5, 1]]]))


@pytest.mark.parametrize("window", [("40", "400"), (["40", "600"], ["400", "1500"])], ids=["one", "several"])
def test_other_images_have_the_first_window_of_the_file(window: tuple[Any, Any]) -> None:
    # PS3.3, C.11.2.1.2: (value - (40 - 0.5)) / (400 - 1) + 0.5
    stored = np.array([[0, 40, 139, 300]], dtype=np.uint16)
    image = decode(scan(stored, Modality="MR", WindowCenter=window[0], WindowWidth=window[1]))
    wanted = [(value - 39.5) / 399 + 0.5 for value in (0, 40, 139)] + [1.0]
    torch.testing.assert_close(image, torch.tensor([[wanted]]))


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_windows_are_those_of_pydicom(function: str) -> None:
    from pydicom.pixels import apply_windowing

    stored = np.random.default_rng(0).integers(0, 4096, (9, 7)).astype(np.uint16)
    file = scan(
        stored,
        Modality="MR",
        BitsStored=12,
        HighBit=11,
        WindowCenter="1500",
        WindowWidth="900",
        VOILUTFunction=function,
    )
    data = pydicom.dcmread(io.BytesIO(file))
    wanted = apply_windowing(data.pixel_array, data) / 4095
    torch.testing.assert_close(decode(file)[0].double(), torch.from_numpy(wanted), atol=2e-6, rtol=0)


def test_monochrome1_is_inverted_once_after_the_window() -> None:
    data = pydicom.dcmread(shipped("6154"))  # a radiograph: 12 bits, slope 0.684, window 1600 +- 1400
    assert data.PhotometricInterpretation == "MONOCHROME1"
    units = data.pixel_array * 0.684 + 200
    wanted = 1 - ((units - 1599.5) / 2799 + 0.5).clip(0, 1)
    image = decode(shipped("6154").read_bytes())
    torch.testing.assert_close(image[0].double(), torch.from_numpy(wanted), atol=1e-6, rtol=0)


def test_eight_bits_that_nothing_maps_stay_as_they_are() -> None:
    stored = np.array([[0, 7, 255]], dtype=np.uint8)
    assert decode(scan(stored, Modality="XC")).tolist() == [[[0, 7, 255]]]
    assert decode(scan(stored, Modality="XC", PhotometricInterpretation="MONOCHROME1")).tolist() == [[[255, 248, 0]]]
    # a window of 8 bits: 7 is ((7 - 9.5) / 9 + 0.5) * 255 = 57 (of 56.7)
    file = scan(stored, Modality="XC", WindowCenter="10", WindowWidth="10")
    assert decode(file).tolist() == [[[0, 57, 255]]]
    assert decode(file).dtype == torch.uint8
    assert read_header(file).depth == "8-bit"


def test_without_a_window_percentiles_of_all_frames_become_black_and_white() -> None:
    frames = np.stack([np.arange(1000).reshape(20, 50), np.arange(1000, 2000).reshape(20, 50)]).astype(np.uint16)
    low, high = np.percentile(frames, (0.5, 99.5))
    file = scan(frames, Modality="NM")
    wanted = ((frames[0].astype(float) - low) / (high - low)).clip(0, 1)
    torch.testing.assert_close(decode(file)[0].double(), torch.from_numpy(wanted), atol=1e-6, rtol=0)
    assert decode(scan(np.full((4, 4), 9, dtype=np.uint16), Modality="NM")).tolist() == [[[0.0] * 4] * 4]


def test_an_enhanced_scan_has_slope_and_window_in_its_functional_groups() -> None:
    from pydicom.dataset import Dataset

    def group(intercept: str) -> Dataset:
        item, values = Dataset(), Dataset()
        values.RescaleSlope, values.RescaleIntercept, values.RescaleType = "2", intercept, "HU"
        item.PixelValueTransformationSequence = [values]
        return item

    frames = np.full((2, 1, 1), 500, dtype=np.uint16)
    file = scan(frames, Modality="CT", PerFrameFunctionalGroupsSequence=[group("-1000"), group("-2000")])
    path_like = io.BytesIO(file)
    assert decode(path_like.getvalue()).item() == 0.5, "500 * 2 - 1000 = 0 HU"


def test_frames_are_images_of_their_own(tmp_path: Path) -> None:
    frames = np.array([[[24]], [[1024]], [[2024]]], dtype=np.uint16)
    (tmp_path / "clip.dcm").write_bytes(scan(frames, **CT))
    source = open_source(tmp_path)
    assert isinstance(source, MemberSource)
    assert [source.image(index).item() for index in range(3)] == [0, 0.5, 1]
    assert source.where(1) == f"{tmp_path / 'clip.dcm'} frame 1"
    assert source.header(2) == Header(height=1, width=1, channels=1, depth="16-bit")


@pytest.mark.parametrize(
    ("name", "color"),
    [
        ("SC_ybr_full_422_uncompressed.dcm", (255, 0, 0)),
        ("SC_rgb_jpeg_dcmtk.dcm", (255, 0, 0)),
        ("SC_rgb_rle.dcm", (255, 0, 0)),
    ],
)
def test_ybr_becomes_rgb_once(name: str, color: tuple[int, int, int]) -> None:
    # the shipped charts begin with a red field; JPEG moves a value by 2
    image = decode(shipped(name).read_bytes()).int()
    assert image.shape == (3, 100, 100)
    assert (image[:, 5, 50] - torch.tensor(color)).abs().max() <= 2


def test_the_ultrasound_clip_is_read_as_pydicom_reads_it() -> None:
    source = open_source(shipped("examples_ybr_color.dcm"))
    wanted = pydicom.dcmread(shipped("examples_ybr_color.dcm")).pixel_array[29]
    assert len(source) == 30
    assert np.array_equal(source.image(29).numpy(), wanted.transpose(2, 0, 1))


def test_palettes_become_colors() -> None:
    from pydicom.pixels import apply_color_lut

    data = pydicom.dcmread(shipped("examples_palette.dcm"))
    wanted = apply_color_lut(data.pixel_array, data).transpose(2, 0, 1) / 65535
    image = decode(shipped("examples_palette.dcm").read_bytes())
    torch.testing.assert_close(image.double(), torch.from_numpy(wanted), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    "name",
    [
        "MR_small_RLE.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_implicit.dcm",
        "MR_small_expb.dcm",
        "MR_small_jp2klossless.dcm",
    ],
)
def test_every_storage_of_one_scan_gives_the_same_pixels(name: str) -> None:
    assert torch.equal(decode(shipped(name).read_bytes()), decode(shipped("MR_small.dcm").read_bytes()))


def test_sixteen_bit_color_is_divided_by_its_white() -> None:
    image = decode(shipped("SC_rgb_rle_16bit.dcm").read_bytes())
    stored = pydicom.dcmread(shipped("SC_rgb_rle_16bit.dcm")).pixel_array
    torch.testing.assert_close(image, torch.from_numpy((stored / 65535).astype(np.float32).transpose(2, 0, 1)))


def test_files_that_pydicom_reads_only_whole() -> None:
    for name in ("image_dfl.dcm", "SC_rgb_jpeg.dcm"):
        wanted = pydicom.dcmread(shipped(name)).pixel_array
        image = decode(shipped(name).read_bytes()).numpy()
        assert np.array_equal(image, wanted.transpose(2, 0, 1) if wanted.ndim == 3 else wanted[None])


def test_a_disk_of_a_hospital_opens_as_it_lies(tmp_path: Path) -> None:
    """Files without a suffix or with a number for one, a directory file, reports and masks among them."""
    shutil.copytree(FILES / "dicomdirtests" / "98892003", tmp_path / "a" / "98892003")
    shutil.copytree(FILES / "dicomdirtests" / "77654033", tmp_path / "b" / "77654033")
    shutil.copy(FILES / "dicomdirtests" / "DICOMDIR", tmp_path / "DICOMDIR")
    shutil.copy(shipped("reportsi.dcm"), tmp_path / "a" / "report.dcm")
    shutil.copy(shipped("liver_1frame.dcm"), tmp_path / "b" / "mask.dcm")
    (tmp_path / "a" / "README").write_text("no image")
    (tmp_path / "b" / "1.2.840.77").write_bytes(shipped("MR_small.dcm").read_bytes())
    source = open_source(tmp_path)
    assert (len(source), source.channels, source.classes) == (17 + 8, 1, ["a", "b"])
    assert source.labels == [0] * 17 + [1] * 8
    assert "2 of 27 files hold no image" in source.remark
    assert "1 with reports" in source.remark
    assert "1 with segmentations" in source.remark
    assert source.groups is not None
    assert len(set(source.groups)) == 3, "three patients"
    assert source.groups_from == "patients that the files name"
    assert "Hounsfield units -1000 to 1000" in source.notes[0]


def test_patients_are_held_apart_only_where_each_class_has_several(tmp_path: Path) -> None:
    def write(folder: str, patient: str, count: int) -> None:
        (tmp_path / folder).mkdir(exist_ok=True)
        for number in range(count):
            file = scan(np.full((2, 2), number, dtype=np.uint16), Modality="MR", PatientID=patient)
            (tmp_path / folder / f"{patient}{number}.dcm").write_bytes(file)

    write("sick", "p1", 2)
    write("well", "p2", 2)
    images = label_images(open_source(tmp_path), None, Labeling())
    assert images.source.groups is None, "one patient in each class: nobody else could vote"
    write("sick", "p3", 1)
    write("well", "p4", 1)
    images = label_images(open_source(tmp_path), None, Labeling())
    assert images.source.groups is not None
    assert len(set(images.source.groups)) == 4
    assert "groups: 4 from patients that the files name" in images.notes


def test_a_label_of_a_file_counts_for_all_its_frames(tmp_path: Path) -> None:
    (tmp_path / "x.dcm").write_bytes(scan(np.zeros((3, 2, 2), dtype=np.uint16), Modality="NM"))
    (tmp_path / "y.dcm").write_bytes(scan(np.zeros((2, 2), dtype=np.uint16), Modality="NM"))
    (tmp_path / "labels.csv").write_text("path,label\nx.dcm,a\ny.dcm,b\n")
    source = open_source(tmp_path)
    assert isinstance(source, FileSource)
    assert LabelFile.read(tmp_path / "labels.csv", LABEL_COLUMNS).values(source) == ["a", "a", "a", "b"]


def test_other_windows_are_a_setting(tmp_path: Path) -> None:
    stored = np.array([[864, 1064, 1264]], dtype=np.uint16)  # -160, 40 and 240 HU
    (tmp_path / "ct.dcm").write_bytes(scan(stored, **CT, WindowCenter="40", WindowWidth="401"))
    with reading_as(ReadingConfig(hounsfield=(-160, 240))):
        narrow = open_source(tmp_path)
    wide = open_source(tmp_path)
    with reading_as(ReadingConfig(window="file")):
        own = open_source(tmp_path)
    torch.testing.assert_close(narrow.image(0), torch.tensor([[[0, 0.5, 1]]]))
    torch.testing.assert_close(wide.image(0), torch.tensor([[[0.42, 0.52, 0.62]]]))
    torch.testing.assert_close(own.image(0), torch.tensor([[[0.00125, 0.50125, 1]]]), atol=1e-6, rtol=0)
    assert len({narrow.fingerprint(), wide.fingerprint(), own.fingerprint()}) == 3
    assert "-160 to 240" in narrow.notes[0]
    with pytest.raises(UserError, match="hounsfield is"):
        ReadingConfig(hounsfield=(5, 5))


def test_broken_files_are_bad_images_and_a_folder_of_reports_is_none(tmp_path: Path) -> None:
    (tmp_path / "text.dcm").write_text("no scan at all" * 30)
    (tmp_path / "short.dcm").write_bytes(shipped("MR_small.dcm").read_bytes()[:5000])
    (tmp_path / "empty.dcm").write_bytes(b"")
    (tmp_path / "good.dcm").write_bytes(shipped("MR_small.dcm").read_bytes())
    source = open_source(tmp_path)
    assert len(source) == 4
    for index in (0, 2, 3):
        with pytest.raises(BadImage):
            source.image(index)
    with pytest.raises(BadImage, match="DICOM without pixels"):
        decode(shipped("reportsi.dcm").read_bytes())
    reports = tmp_path / "reports"
    reports.mkdir()
    shutil.copy(shipped("reportsi.dcm"), reports)
    with pytest.raises(UserError, match="holds no images: 1 with reports"):
        open_source(reports)


def test_without_pydicom_one_sentence_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from byol.data.formats import extras

    monkeypatch.setattr(extras, "_installed", lambda modules: False)
    shutil.copy(shipped("MR_small.dcm"), tmp_path / "a.dcm")
    with pytest.raises(UserError, match=r"only 1 other files \(\.dcm\).* pip install 'byol\[dicom\]'"):
        open_source(tmp_path)
    with pytest.raises(BadImage, match=r"pip install 'byol\[dicom\]'"):
        decode((tmp_path / "a.dcm").read_bytes())


def test_a_run_says_how_it_reads_and_its_card_keeps_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from conftest import TINY

    scans = tmp_path / "scans"
    scans.mkdir()
    for number in range(32):
        stored = np.random.default_rng(number).integers(0, 2048, (20, 20)).astype(np.uint16)
        (scans / f"{number}.dcm").write_bytes(scan(stored, **CT))
    settings = {**TINY, "epochs": 1, "data__channels": 3, "data__reading__hounsfield": (-160, 240)}
    byol.pretrain(scans, recipe="cifar10-cpu", out=tmp_path / "run", **settings)
    said = " ".join(capsys.readouterr().out.split())
    assert "DICOM: CT: Hounsfield units -160 to 240 become black to white" in said
    from byol.encoders.load import open_encoder

    assert open_encoder(str(tmp_path / "run")).reading == ReadingConfig(hounsfield=(-160, 240))
