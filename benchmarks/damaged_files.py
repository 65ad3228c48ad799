"""Small files of every format, as the usual libraries write them, and the same ones damaged."""

import io
import random
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import imagecodecs
import nibabel
import numpy as np
import pi_heif
import pyarrow as pa
import pyarrow.parquet as pq
import pydicom
import tifffile
from astropy.io import fits
from PIL import Image

from byol.data.formats.extras import suffix_of

SIDE = 32
DAMAGES = {"intact": 0.1, "flipped": 0.4, "truncated": 0.3, "renamed": 0.2}
"""What is done to the files, and to which share of them."""
FLIPPED_MOST = 20
"""Bytes that are replaced at most; half of them among the first `HEAD`, where sizes and offsets are."""
HEAD = 512


def write_damaged(folder: Path, count: int, seed: int, makers: dict[str, bytes]) -> None:
    """Files called NUMBER-FORMAT-DAMAGE.SUFFIX, formats in turn."""
    rng = random.Random(seed)
    names = sorted(makers)
    folder.mkdir(parents=True)
    for number in range(count):
        name = names[number % len(names)]
        damage = rng.choices([*DAMAGES], [*DAMAGES.values()])[0]
        suffix, data = suffix_of(name), damaged(makers[name], damage, rng)
        if damage == "renamed":
            suffix = suffix_of(rng.choice([other for other in names if suffix_of(other) != suffix]))
        (folder / f"{number:05d}-{name.partition('.')[0]}-{damage}{suffix}").write_bytes(data)


def damaged(data: bytes, damage: str, rng: random.Random) -> bytes:
    """The bytes of a file, damaged; those of a renamed file are whole."""
    if damage == "truncated":
        return data[: rng.randrange(len(data))]
    if damage == "flipped":
        changed = bytearray(data)
        for _ in range(rng.randint(1, FLIPPED_MOST)):
            end = len(data) if rng.random() < 0.5 else min(HEAD, len(data))
            changed[rng.randrange(end)] = rng.randrange(256)
        return bytes(changed)
    return data


def images() -> dict[str, bytes]:
    """A file of each format of single images and of scans, volumes and videos, by a name with its suffix."""
    color, gray = _noise(SIDE, SIDE, 3), _noise(SIDE, SIDE)
    deep = _noise(SIDE, SIDE, 3).astype(np.uint16) * 257
    made = {
        "jpeg.jpg": _pillow(color, "JPEG"),
        "progressive.jpg": _pillow(color, "JPEG", progressive=True),
        "png.png": _pillow(color, "PNG"),
        "webp.webp": _pillow(color, "WEBP"),
        "gif.gif": _pillow(color, "GIF"),
        "bmp.bmp": _pillow(color, "BMP"),
        "tga.tga": _pillow(color, "TGA"),
        "jpeg2000.jp2": _pillow(color, "JPEG2000"),
        "avif.avif": _pillow(color, "AVIF"),
        "ppm.ppm": _pillow(color, "PPM"),
        "tiff.tif": _written(lambda file: tifffile.imwrite(file, color, photometric="rgb")),
        "tiff16.tif": _written(lambda file: tifffile.imwrite(file, deep, photometric="rgb", compression="lzw")),
        "pages.tif": _written(lambda file: tifffile.imwrite(file, _noise(5, SIDE, SIDE), photometric="minisblack")),
        "array.npy": _written(lambda file: np.save(file, deep)),
        "jxl.jxl": bytes(imagecodecs.jpegxl_encode(color, lossless=True)),
        "fits.fits": _written(lambda file: fits.HDUList([fits.PrimaryHDU(gray.astype(">i2"))]).writeto(file)),
        "dicom.dcm": _dicom(gray),
        "volume.nii": _at_a_path("a.nii", _volume),
        "volume.nii.gz": _at_a_path("a.nii.gz", _volume),
        "film.mkv": _at_a_path("a.mkv", _film),
        "slide.svs": _at_a_path("a.svs", _slide),
    }
    sample = Path(__file__).parent.parent / "tests" / "heif" / "color.heic"
    assert pi_heif.is_supported(sample)
    return {**made, "heic.heic": sample.read_bytes()}


def collections() -> dict[str, bytes]:
    """A file of each kind that holds many images, by a name with its suffix."""
    pictures = [_pillow(_noise(SIDE, SIDE, 3, seed=number), "PNG") for number in range(6)]
    stack, labels = np.stack([_noise(SIDE, SIDE, 3, seed=number) for number in range(6)]), np.arange(6) % 2
    table = pa.table({"image": [{"bytes": data, "path": None} for data in pictures], "label": labels.tolist()})
    return {
        "groups.parquet": _written(lambda file: pq.write_table(table, file, row_group_size=2)),
        "mapped.arrow": _at_a_path("a.arrow", lambda path: _arrow(path, table)),
        "shard.tar": _tar(pictures),
        "stack.h5": _at_a_path("a.h5", lambda path: _hdf5(path, stack, labels)),
        "stack.npz": _written(lambda file: np.savez_compressed(file, images=stack, labels=labels)),
        "stack.npy": _written(lambda file: np.save(file, stack)),
        "list.csv": b"path,label\n" + b"".join(b"nowhere/%d.png,%d\n" % (number, number % 2) for number in range(20)),
        "list.txt": b"".join(b"nowhere/%d.png\n" % number for number in range(20)),
    }


def _noise(*shape: int, seed: int = 0) -> Any:
    values = np.random.default_rng(seed).integers(0, 256, shape)
    return values.astype(np.uint8)


def _written(write: Callable[[Any], object]) -> bytes:
    file = io.BytesIO()
    write(file)
    return file.getvalue()


def _at_a_path(name: str, write: Callable[[Path], object]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / name)
        return (Path(folder) / name).read_bytes()


def _pillow(values: Any, kind: str, **options: Any) -> bytes:
    return _written(lambda file: Image.fromarray(values).save(file, kind, **options))


def _dicom(values: Any) -> bytes:
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = pydicom.uid.UID("1.2.840.10008.5.1.4.1.1.2")
    meta.MediaStorageSOPInstanceUID = pydicom.uid.UID("1.2.3")
    data = pydicom.dataset.FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    data.SOPClassUID, data.Modality, data.PatientID = meta.MediaStorageSOPClassUID, "MR", "P1"
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.Rows, data.Columns = values.shape
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 8, 8, 7, 0
    data.PixelData = values.tobytes()
    return _written(data.save_as)


def _volume(path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(_noise(SIDE, SIDE, 4), np.diag([1.0, 1.0, 2.0, 1.0])), path)


def _film(path: Path) -> None:
    import av

    with av.open(str(path), "w") as file:
        stream = file.add_stream("ffv1", rate=1)
        stream.height, stream.width, stream.pix_fmt = SIDE, SIDE, "bgr0"
        for number in range(3):
            frame = av.VideoFrame.from_ndarray(_noise(SIDE, SIDE, 3, seed=number), format="rgb24")
            file.mux(stream.encode(frame))
        file.mux(stream.encode())


def _slide(path: Path) -> None:
    values = np.full((512, 512, 3), (120, 60, 140), dtype=np.uint8)
    said = "Aperio Image Library v1\r\n512x512 [0,0 512x512] (256x256) none|AppMag = 20|MPP = 0.5"
    tifffile.imwrite(path, values, photometric="rgb", tile=(256, 256), description=said, metadata=None)


def _arrow(path: Path, table: Any) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)


def _tar(pictures: list[bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for number, data in enumerate(pictures):
            for name, content in ((f"{number}.png", data), (f"{number}.cls", b"%d" % (number % 2))):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def _hdf5(path: Path, stack: Any, labels: Any) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("images", data=stack, chunks=(1, *stack.shape[1:]), compression="gzip")
        file["labels"] = labels
