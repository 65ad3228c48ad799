"""What a store of OME-Zarr says of its images: where they are, their axes, their levels, their channels' windows.

Versions 0.1 to 0.5 of the specification (https://ngff.openmicroscopy.org), in Zarr of version 2 and 3.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from byol.errors import BadImage

__all__ = ["SAFE_CODECS", "OmeImage", "codecs_of", "ome_images"]

OLD_AXES = ("t", "c", "z", "y", "x")
"""Of versions before 0.3, which state none."""

SAFE_CODECS = frozenset(
    (
        *("bytes", "transpose", "sharding_indexed", "crc32c", "blosc", "gzip", "zstd"),  # Zarr 3
        *("zlib", "bz2", "lzma", "lz4", "shuffle", "delta", "fixedscaleoffset", "quantize", "bitround", "packbits"),
        *("astype", "crc32", "adler32", "fletcher32"),
    )
)
"""Codecs that turn bytes into numbers and nothing else; `pickle` among others would run what a file says."""


@dataclass(frozen=True)
class OmeImage:
    """One image of a store, which may have many planes and times."""

    axes: tuple[str, ...]
    """Names of the axes of all its arrays, such as t, c, z, y, x."""
    levels: tuple[str, ...]
    """Where in the store the same image is at several sizes."""
    windows: tuple[tuple[float, float], ...] | None
    """The values that become black and white in each channel, if the store states them."""


def ome_images(store: Any) -> list[OmeImage]:
    """The images of a store, in its order: one, the series of a converted file, or the fields of a plate's wells.

    Masks of objects, which lie in groups `labels`, are no images.

    Args:
        store: a group, as zarr opens it.

    Raises:
        BadImage: it says nothing that OME-Zarr says.
    """
    return [_image(at, said) for at, said in _with_multiscales(store)]


def codecs_of(metadata: Mapping[str, Any]) -> set[str]:
    """The names of all codecs of an array, as its metadata states them in version 2 or 3."""
    found = [*(metadata.get("codecs") or ()), *(metadata.get("filters") or ()), metadata.get("compressor")]
    names = set()
    for codec in found:
        if codec is None:
            continue
        if not isinstance(codec, Mapping):
            return {type(codec).__name__}
        names.add(str(codec.get("name", codec.get("id"))).removeprefix("numcodecs."))
        within = codec.get("configuration")
        if isinstance(within, Mapping):  # shards have codecs of their own
            names |= codecs_of({"codecs": [*within.get("codecs", ()), *within.get("index_codecs", ())]})
    return names


def _with_multiscales(store: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The path of each image's group in the store, and what it says."""
    said = _said(store)
    if "multiscales" in said:
        yield "", said
        return
    if "plate" in said:
        for well in said["plate"]["wells"]:
            for field in _said(store[well["path"]])["well"]["images"]:
                path = f"{well['path']}/{field['path']}"
                yield path, _said(store[path])
        return
    if "bioformats2raw.layout" in said:
        series = _said(store["OME"]).get("series") if "OME" in store else None
        for path in series if series is not None else _numbered(store):
            yield str(path), _said(store[str(path)])
        return
    raise BadImage("says nothing of multiscales, plates or series, as OME-Zarr does")


def _numbered(store: Any) -> Iterator[str]:
    number = 0
    while str(number) in store:
        yield str(number)
        number += 1


def _said(group: Any) -> Mapping[str, Any]:
    """What a group says of OME: since version 0.5 under a name of its own."""
    attributes: Mapping[str, Any] = group.attrs.asdict()
    inner = attributes.get("ome")
    return inner if isinstance(inner, Mapping) else attributes


def _image(path: str, said: Mapping[str, Any]) -> OmeImage:
    scales = said["multiscales"][0]
    axes = tuple(axis if isinstance(axis, str) else str(axis["name"]) for axis in scales.get("axes", OLD_AXES))
    lacking = {"y", "x"} - set(axes)
    if lacking or len(set(axes)) < len(axes):
        raise BadImage(f"an image with the axes {', '.join(axes)} is not read; it must have y and x once")
    above = f"{path}/" if path else ""
    levels = tuple(above + str(level["path"]) for level in scales["datasets"])
    if not levels:
        raise BadImage("an image without a single level is not read")
    return OmeImage(axes, levels, _windows(said.get("omero")))


def _windows(omero: Any) -> tuple[tuple[float, float], ...] | None:
    channels: Sequence[Any] = omero.get("channels", ()) if isinstance(omero, Mapping) else ()
    found = [channel.get("window") for channel in channels if isinstance(channel, Mapping)]
    known = [window for window in found if isinstance(window, Mapping) and {"start", "end"} <= set(window)]
    try:
        windows = tuple((float(window["start"]), float(window["end"])) for window in known)
    except (TypeError, ValueError):  # null, or words: they are as good as none
        return None
    return windows if windows and len(windows) == len(channels) and all(low < high for low, high in windows) else None
