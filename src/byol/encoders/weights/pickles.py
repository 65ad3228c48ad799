"""A reader of PyTorch's files that makes tensors and plain containers, and stand-ins of everything else.

`torch.load(weights_only=True)` refuses a file as a whole where it names a class besides the weights, such as the
`argparse.Namespace` of a training script. This reader is as strict: it calls the functions of its own list and nothing
else. Every other name becomes a `StandIn`; nothing is imported by a name from a file.
"""

import io
import math
import pickle
import pickletools
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from byol.encoders.weights.stand_in import stand_in_for

STORAGES: dict[str, torch.dtype] = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "UntypedStorage": torch.uint8,
}
"""PyTorch's names of typed storages, and what they hold."""

DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in STORAGES.values()}


class Unreadable(ValueError):  # noqa: N818  (the caller makes a sentence of it)
    """A file is not what it seems, or holds what is not read; the message is a short reason."""


def tensor_of(values: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    """A tensor on the values of a storage; what PyTorch's files call `_rebuild_tensor` and `_rebuild_tensor_v2`.

    Raises:
        Unreadable: it would reach beyond its storage.
    """
    numbers = (offset, *size, *stride)
    if not isinstance(values, Tensor) or not all(isinstance(n, int) and n >= 0 for n in numbers):
        raise Unreadable("a tensor without storage, sizes or strides")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if 0 not in size and last >= values.numel():
        raise Unreadable("a tensor that is larger than its storage")
    return values.as_strided(size, stride, offset)


def _parameter(data: Any, *_: Any) -> Any:
    return data


def _encoded(text: str, encoding: str = "latin1") -> bytes:
    """Bytes, which protocol 2 keeps as text."""
    return text.encode("latin1" if encoding != "utf-8" else encoding)


class _Typed:
    """The name of a storage's type; storages come by `persistent_load`, and the type itself makes nothing."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype


KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("collections", "Counter"): Counter,
    ("builtins", "set"): set,
    ("__builtin__", "set"): set,
    ("builtins", "frozenset"): frozenset,
    ("builtins", "dict"): dict,
    ("builtins", "list"): list,
    ("builtins", "complex"): complex,
    ("_codecs", "encode"): _encoded,
    ("torch", "Size"): tuple,
    ("torch", "device"): lambda *words: ":".join(map(str, words)),
    ("torch._utils", "_rebuild_tensor"): tensor_of,
    ("torch._utils", "_rebuild_tensor_v2"): tensor_of,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _parameter,
    **{("torch", name): _Typed(dtype) for name, dtype in STORAGES.items()},
    **{("torch.storage", name): _Typed(dtype) for name, dtype in STORAGES.items()},
    **{("torch", name): dtype for name, dtype in DTYPES.items()},
}
"""All that a file can make besides stand-ins, by the names in the file."""


MEMO = ("PUT", "BINPUT", "LONG_BINPUT")
"""Operations that keep an object under a number, from 0 on."""
NUMBERS = 2**16
"""Up to here any number is taken: room for so many is half a megabyte."""


class Reader(pickle.Unpickler):
    """Unpickles with the names of a list, and stand-ins for the others."""

    def __init__(
        self,
        file: BinaryIO | io.BytesIO,
        load: Callable[[Any], Tensor] | None = None,
        known: Mapping[tuple[str, str], Any] = KNOWN,
    ) -> None:
        super().__init__(file, encoding="latin1")
        self._file, self._load, self._known = file, load, known

    def load(self) -> Any:
        """The object whose pickle begins where the file stands.

        Raises:
            Unreadable: it numbers its objects as no program does; Python's reader makes room for the largest number.
        """
        begin = self._file.tell()
        with suppress(UnicodeDecodeError):  # text of Python 2, which it takes for ASCII; no program of today writes it
            for done, (operation, number, _) in enumerate(pickletools.genops(self._file)):
                if operation.name in MEMO and isinstance(number, int) and number > max(NUMBERS, done):
                    raise Unreadable(f"object {number} in a pickle of fewer")
        self._file.seek(begin)
        return super().load()

    def find_class(self, module: str, name: str) -> Any:
        """What a name in the file stands for; never an import."""
        return self._known[module, name] if (module, name) in self._known else stand_in_for(module, name)

    def persistent_load(self, pid: Any) -> Any:
        """The values of a storage."""
        if self._load is None or not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage":
            raise Unreadable("a reference to something outside the file")
        if not isinstance(pid[1], _Typed):
            raise Unreadable(f"values of the type {pid[1]}, which is not read")
        return self._load(pid)


def check_zip(path: Path) -> None:
    """See that a zip archive is one of weights, before anything reads it.

    Raises:
        Unreadable: it is another archive, compressed, a TorchScript program, or torn.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            records = {name.partition("/")[2] for name in archive.namelist()}
            compressed = any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist())
    except Exception as error:
        raise Unreadable(f"a torn file: {error}") from error
    if "constants.pkl" in records:
        raise Unreadable("a TorchScript program")
    if "data.pkl" not in records:
        raise Unreadable("a zip archive that PyTorch did not write")
    if compressed:
        raise Unreadable("a compressed archive, which PyTorch does not write")


def read_zip(path: Path) -> Any:
    """What `torch.save` wrote, as a zip archive of one pickle and a record for each storage.

    Raises:
        Unreadable: it is torn, or holds values that are not read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            records = {name.partition("/")[2]: name for name in archive.namelist()}
            if "byteorder" in records and archive.read(records["byteorder"]).strip() != b"little":
                raise Unreadable("values in big-endian order")
            loaded: dict[str, Tensor] = {}

            def load(pid: Any) -> Tensor:
                key, dtype = str(pid[2]), pid[1].dtype
                if key not in loaded:
                    content = bytearray(archive.read(records[f"data/{key}"]))
                    loaded[key] = _values(content, dtype)
                return loaded[key]

            return Reader(io.BytesIO(archive.read(records["data.pkl"])), load).load()
    except Unreadable:
        raise
    except (zipfile.BadZipFile, KeyError, pickle.UnpicklingError, EOFError, OSError) as error:
        raise Unreadable(f"a torn file: {error}") from error
    except Exception as error:  # a damaged pickle asks for anything: of any kind
        raise Unreadable(f"a pickle that is not a file of weights: {error}") from error


def _values(content: bytearray, dtype: torch.dtype) -> Tensor:
    if not content:
        return torch.empty(0, dtype=dtype)
    if len(content) % dtype.itemsize:
        raise Unreadable("a storage that is not whole")
    return torch.frombuffer(content, dtype=dtype)


def read_legacy(path: Path) -> Any:
    """What `torch.save` wrote before PyTorch 1.6: a pickle, the names of the storages, then their values.

    Raises:
        Unreadable: it is torn.
    """
    size = path.stat().st_size
    storages: dict[str, Tensor] = {}

    def load(pid: Any) -> Tensor:
        key, dtype, count = str(pid[2]), pid[1].dtype, pid[4]
        if not isinstance(count, int) or not 0 <= count * dtype.itemsize <= size:
            raise Unreadable("a storage that is larger than the file")
        if len(pid) > 5 and pid[5] is not None:
            raise Unreadable("a view of a storage, which PyTorch before 0.4 wrote")
        if key not in storages:
            if sum(math.prod((s.numel(), s.itemsize)) for s in storages.values()) + count * dtype.itemsize > size:
                raise Unreadable("storages that are larger than the file")
            storages[key] = torch.zeros(count, dtype=dtype)
        return storages[key]

    try:
        with path.open("rb") as file:
            for _ in range(3):  # the magic number, the version, what the machine was
                Reader(file).load()
            content = Reader(file, load).load()
            for key in Reader(file).load():
                values = storages[str(key)]
                count = int.from_bytes(file.read(8), "little")
                if count != values.numel():
                    raise Unreadable("a storage of another length than its tensors say")
                if read := bytearray(file.read(count * values.itemsize)):
                    values.copy_(_values(read, values.dtype))
            return content
    except Unreadable:
        raise
    except (KeyError, pickle.UnpicklingError, EOFError, OSError) as error:
        raise Unreadable(f"a torn file: {error}") from error
    except Exception as error:  # a damaged pickle asks for anything: of any kind
        raise Unreadable(f"a pickle that is not a file of weights: {error}") from error
