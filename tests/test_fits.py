"""FITS: rows upwards, scaling, what is blank, and the stretch, against values worked by hand and astropy's own."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from byol.data.formats import extras
from byol.data.formats.decode import decode, read_header
from byol.data.formats.header import Header
from byol.data.sources.open import open_source
from byol.errors import BadImage, UserError

fits = pytest.importorskip("astropy.io.fits", reason="FITS takes astropy")


def file(*units: Any) -> bytes:
    target = io.BytesIO()
    fits.HDUList(list(units)).writeto(target)
    return target.getvalue()


def stretched(values: Any) -> Any:
    from astropy.visualization import AsinhStretch

    low, high = np.nanpercentile(values, (0.5, 99.5))
    return AsinhStretch(0.1)(((values - low) / (high - low)).clip(0, 1))


def test_the_first_row_is_at_the_bottom() -> None:
    values = np.random.default_rng(0).normal(100, 20, (7, 5)).astype(">f4")
    data = file(fits.PrimaryHDU(values))
    assert read_header(data) == Header(height=7, width=5, channels=1, depth="float")
    wanted = torch.from_numpy(stretched(values.astype(float))[::-1].copy())
    torch.testing.assert_close(decode(data)[0].double(), wanted, atol=1e-5, rtol=0)


def test_the_stretch_lifts_what_is_faint() -> None:
    # 1,001 values from 0 to 1000: percentiles 5 and 995; 104 is a tenth: asinh(1) / asinh(10) = 0.2940
    values = np.arange(1001, dtype=np.float32)[None]
    image = decode(file(fits.PrimaryHDU(values)))[0, 0]
    assert [float(image[place]) for place in (0, 5, 104, 995, 1000)] == pytest.approx([0, 0, 0.2940, 1, 1], abs=1e-4)


def test_scaled_and_blank_values_and_what_is_no_number() -> None:
    unit = fits.PrimaryHDU(np.array([[1, 2, 3, -99]], dtype=np.int16))
    unit.header["BLANK"] = -99
    scaled = fits.PrimaryHDU(np.array([[1, 2, 3, np.nan]], dtype=np.float32))
    blank, missing = decode(file(unit)), decode(file(scaled))
    torch.testing.assert_close(blank, missing)
    assert (float(blank[0, 0, 3]), float(blank[0, 0, 2])) == (0, 1)
    unsigned = np.array([[0, 40000, 65535]], dtype=np.uint16)  # stored with BZERO = 32768
    torch.testing.assert_close(
        decode(file(fits.PrimaryHDU(unsigned)))[0].double(),
        torch.from_numpy(stretched(unsigned.astype(float))),
        atol=1e-5,
        rtol=0,
    )


def test_the_first_image_counts_wherever_it_is() -> None:
    values = np.random.default_rng(1).normal(size=(3, 6, 4)).astype(np.float32)
    table = fits.BinTableHDU.from_columns([fits.Column("a", "E", array=np.zeros(3))])
    plain = decode(file(fits.PrimaryHDU(values[0])))
    assert torch.equal(decode(file(fits.PrimaryHDU(), table, fits.ImageHDU(values[0]))), plain)
    assert torch.equal(decode(file(fits.PrimaryHDU(values))), plain), "of a cube the first plane"
    compressed = fits.CompImageHDU((values[0] * 1000).astype(np.int32))
    torch.testing.assert_close(
        decode(file(fits.PrimaryHDU(), compressed)), decode(file(fits.PrimaryHDU((values[0] * 1000).astype(np.int32))))
    )


def test_what_has_no_image_is_bad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = file(fits.PrimaryHDU(np.random.default_rng(0).normal(size=(50, 50))))
    for broken, reason in (
        (file(fits.PrimaryHDU()), "holds no image, only tables"),
        (file(fits.PrimaryHDU(np.full((2, 2), np.nan))), "holds no numbers"),
        (data[:4000], "corrupt or truncated"),
    ):
        with pytest.raises(BadImage, match=reason):
            decode(broken)
    (tmp_path / "a.fits").write_bytes(data)
    (tmp_path / "b.fits").write_bytes(data)
    assert len(open_source(tmp_path)) == 2
    monkeypatch.setattr(extras, "_installed", lambda modules: False)
    with pytest.raises(UserError, match=r"pip install 'byol\[fits\]'"):
        open_source(tmp_path)
