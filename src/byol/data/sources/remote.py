"""Files on web servers and in object storage, read in ranges through fsspec: `https://`, `s3://`, `gs://`, ..."""

import importlib.util
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, BinaryIO, TypeVar
from urllib.parse import urlsplit

from byol.errors import UserError

__all__ = ["RemoteFile", "is_remote", "remote_matches", "remote_suffix"]

T = TypeVar("T")

EXTRA = "pip install 'byol[remote]'"
PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""Seconds before what a lost connection did not deliver is asked for again: a minute, as a router takes to start."""
BLOCK = 1 << 20
"""Bytes that are read ahead while the headers of an archive are looked at."""
WAIT_FOR = frozenset({408, 425, 429})
"""Answers of HTTP from 400 to 499 that mean `later` and not `no` (RFC 9110, RFC 8470, RFC 6585)."""
NO_CREDENTIALS = frozenset({"NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "TokenRetrievalError"})
"""What botocore raises, which fsspec has for `s3://`, where this machine has no credentials."""
CREDENTIALS = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or FSSPEC_S3_ANON=1 for a public bucket"
MARKS = ("ETag", "etag", "LastModified", "Last-Modified", "mtime", "updated", "last_modified", "created")
"""What file systems call that which changes with a file."""


@dataclass(frozen=True)
class RemoteFile:
    """A file by its URL."""

    url: str

    def about(self) -> tuple[int, str]:
        """Its size in bytes, and a text that changes when the file does.

        Raises:
            UserError: it is not there, cannot be reached, or its server does not say how large it is.
        """
        found = self._patiently(lambda fs, path: fs.info(path))
        size = found.get("size")
        if not isinstance(size, int):
            raise UserError(f"The server of {self.url!r} does not say how large the file is; download it first.")
        return size, " ".join(f"{found[name]}" for name in MARKS if found.get(name))

    def read(self, offset: int, size: int) -> bytes:
        """`size` bytes from `offset` on; fewer where the file ends before.

        Raises:
            UserError: it is not there, cannot be reached, or its server sends whole files only.
        """
        if size == 0:
            return b""
        data: bytes = self._patiently(lambda fs, path: fs.cat_file(path, start=offset, end=offset + size))
        if len(data) > size:
            raise UserError(_whole_only(self.url))
        return data

    def open(self, size: int) -> BinaryIO:
        """A file to look through from its beginning, which asks again where the connection is lost.

        Raises:
            UserError: as `read`.
        """
        if size > 1:
            self._patiently(_last_byte)  # which no server sends that sends whole files only
        return _Blocks(self, size)  # type: ignore[return-value]

    def _patiently(self, work: Callable[[Any, str], T]) -> T:
        """Do some work on the file, again after each pause if the connection is lost."""
        filesystem, path = _filesystem(self.url)
        for pause in (*PAUSES, None):
            try:
                return work(filesystem, path)
            except UserError:
                raise
            except FileNotFoundError as error:
                lost = _lost(error)
                if lost is None:
                    raise UserError(f"{self.url!r} is not there; check the address.") from error
                if pause is None:
                    raise UserError(_unreachable(self.url, lost)) from error
            except PermissionError as error:
                raise UserError(f"{self.url!r} may not be read ({_reason(error)}); check your credentials.") from error
            except Exception as error:  # each file system has errors of its own
                if type(error).__name__ in NO_CREDENTIALS:
                    raise _without_credentials(self.url, error) from error
                status = _status(error)
                if status is not None and 400 <= status < 500 and status not in WAIT_FOR:
                    raise UserError(f"{self.url!r} is refused ({_reason(error)}); check the address.") from error
                if pause is None:
                    raise UserError(_unreachable(self.url, error)) from error
            time.sleep(pause)
        raise AssertionError("the last try returns or raises")


class _Blocks:
    """What `tarfile` needs of a file: `read`, `seek` and `tell`, by blocks that are read ahead."""

    def __init__(self, file: RemoteFile, size: int) -> None:
        self._file, self._size, self._at = file, size, 0
        self._begin, self._block = 0, b""

    def __enter__(self) -> "_Blocks":
        return self

    def __exit__(self, *_: object) -> None:
        self._block = b""

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0 if whence == 0 else self._at if whence == 1 else self._size)
        return self._at

    def read(self, size: int = -1) -> bytes:
        end = self._size if size < 0 else min(self._size, self._at + size)
        if end <= self._at:
            return b""
        if not (self._begin <= self._at and end <= self._begin + len(self._block)):
            wanted = min(max(BLOCK, end - self._at), self._size - self._at)
            self._begin, self._block = self._at, self._file.read(self._at, wanted)
        data = self._block[self._at - self._begin : end - self._begin]
        self._at += len(data)
        return data


def _last_byte(filesystem: Any, path: str) -> None:
    """Read the last byte of a file; a server that would send all of it instead is not listened to."""
    with filesystem.open(path, "rb", block_size=BLOCK, cache_type="none") as file:
        try:
            file.seek(-1, 2)
            file.read(1)
        except ValueError as error:
            if "range requests" not in str(error):
                raise
            raise UserError(_whole_only(path)) from error


def is_remote(text: object) -> bool:
    """Whether a text is a URL with a protocol, such as `https://host/a.tar` or `s3://bucket/a.tar`."""
    return isinstance(text, str) and re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text) is not None


def remote_suffix(url: str) -> str:
    """The suffix of the file that a URL names, in lower case with its dot; what follows a `?` does not count."""
    name = urlsplit(url).path.rsplit("/", 1)[-1].lower()
    stem, dot, end = name.rpartition(".")
    return dot + end if stem else ""


def remote_matches(url: str) -> list[str]:
    """The URLs that a pattern with `*` or `[...]` matches, sorted; the URL itself where it is no pattern."""
    filesystem, path = _filesystem(url)
    filesystem.invalidate_cache()  # another listing of this process may be old
    if not any(sign in urlsplit(url).path for sign in "*["):
        return [url]
    try:
        return sorted(str(filesystem.unstrip_protocol(found)) for found in filesystem.glob(path))
    except Exception as error:
        if type(error).__name__ in NO_CREDENTIALS:
            raise _without_credentials(url, error) from error
        raise UserError(f"What {url!r} matches cannot be listed ({_reason(error)}); name the files.") from error


def _lost(error: FileNotFoundError) -> BaseException | None:
    """Why a file seems not to be there where its server was not reached, as fsspec puts it; None if it is not there."""
    cause = error.__cause__
    status = _status(cause)
    return None if cause is None or (status is not None and status < 500 and status not in WAIT_FOR) else cause


def _status(error: BaseException | None) -> int | None:
    """What a server answered, in the numbers of HTTP: as aiohttp keeps it, or botocore; None if it did not answer."""
    about = getattr(error, "response", None)
    status = about.get("ResponseMetadata", {}).get("HTTPStatusCode") if isinstance(about, dict) else None
    status = getattr(error, "status", status)
    return status if isinstance(status, int) else None


def _without_credentials(url: str, error: BaseException) -> UserError:
    return UserError(f"{url!r} asks for credentials ({_reason(error)}); {CREDENTIALS}.")


def _unreachable(url: str, error: BaseException) -> str:
    return (
        f"{url!r} cannot be reached ({_reason(error)}), though it was asked for {len(PAUSES) + 1} times; check the "
        "network, and go on with --resume if a run was under way."
    )


def _whole_only(url: str) -> str:
    return (
        f"The server of {url!r} sends whole files only, so no image in it can be read by itself; use a server that "
        "answers range requests, or download the files."
    )


def _reason(error: BaseException) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:120]


def _options(url: str) -> dict[str, Any]:
    """How long a web server is waited for: a minute in silence, and not five minutes for each file as by default."""
    if not url.lower().startswith(("http://", "https://")):
        return {}
    import aiohttp

    return {"client_kwargs": {"timeout": aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=60)}}


@cache
def _filesystem(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path there."""
    if importlib.util.find_spec("fsspec") is None:
        raise UserError(f"{url!r} is read with an extra; run: {EXTRA}.")
    from fsspec.core import url_to_fs

    try:
        filesystem, path = url_to_fs(url, **_options(url))
    except ImportError as error:
        raise UserError(f"{url!r} is read with an extra; run: {EXTRA} ({_reason(error)}).") from error
    except ValueError as error:
        raise UserError(
            f"{url!r} is of no kind that can be read ({_reason(error)}); give https://, s3:// or gs://."
        ) from error
    return filesystem, str(path)
