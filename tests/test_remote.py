"""Shards on servers: read in ranges, indexed once, asked for again where the connection is lost."""

import re
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import byol
from byol.data.sources import remote
from byol.data.sources.open import is_fetched, open_source
from byol.data.sources.remote import RemoteFile, is_remote, remote_suffix
from byol.errors import BadImage, UserError
from byol.pretraining.run_folder import absolute
from conftest import TINY
from test_tar import png, tar, values

pytest.importorskip("fsspec", reason="fsspec is not installed")
pytest.importorskip("aiohttp", reason="aiohttp is not installed")

OLD, NEW = "Thu, 01 Jan 2026 00:00:00 GMT", "Fri, 02 Jan 2026 00:00:00 GMT"


class Server(ThreadingHTTPServer):
    """Files of a folder over HTTP, in ranges; counts what it is asked for, and fails where it is told to."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.ranges, self.sent = folder, True, 0
        self.asked: list[tuple[str, str]] = []
        self.failures: list[int] = []
        """Answers to the next requests: a status, or 0 to close the connection."""
        self.modified = OLD

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"  # connections are kept

    def do_GET(self) -> None:
        server = self.server
        server.asked.append((self.command, self.path))
        if server.failures and (status := server.failures.pop(0)) != 200:
            if status:
                self.send_error(status)
            self.close_connection = True
            return
        path = server.folder / self.path.partition("?")[0].lstrip("/")
        if not path.is_file():
            self.send_error(404)
            return
        data, start = path.read_bytes(), 0
        whole, found = len(data), re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if found and server.ranges:
            start = int(found[1])
            data = data[start : int(found[2]) + 1]
        self.send_response(206 if found and server.ranges else 200)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Last-Modified", server.modified)
        if found and server.ranges:
            self.send_header("Content-Range", f"bytes {start}-{start + len(data) - 1}/{whole}")
        self.end_headers()
        if self.command == "GET":
            server.sent += len(data)
            self.wfile.write(data)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_: Any) -> None:
        """Nothing on the terminal."""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("BYOL_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(remote, "PAUSES", (0.0, 0.0))
    (tmp_path / "served").mkdir()
    with Server(tmp_path / "served") as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_shards_are_read_over_http_as_from_the_disk(server: Server) -> None:
    tar(server.folder / "x-08.tar", {"0.png": png(1), "0.cls": "5", "1.png": png(2), "1.cls": "6"})
    tar(server.folder / "x-09.tar", {"2.png": png(3), "2.cls": "5"})
    url = server.url + "/x-{08..09}.tar"
    source, local = open_source(url, 3), open_source(str(server.folder / "x-{08..09}.tar"), 3)
    assert values(source) == [1, 2, 3]
    assert (source.labels, source.fingerprint()) == ([5, 6, 5], local.fingerprint())
    assert source.where(2) == f"{server.url}/x-09.tar member 2.png"
    assert source.read(1) == png(2)
    assert OLD in source.state(0)
    assert source.state(0) != source.state(1)
    again = open_source([server.url + "/x-08.tar", server.url + "/x-09.tar?token=a.b"], 3)
    assert values(again) == [1, 2, 3]


def test_the_index_is_made_once_and_anew_when_the_file_changes(server: Server) -> None:
    members: dict[str, bytes | str] = {"big.bin": bytes(3 << 20)}
    tar(server.folder / "x.tar", {**members, "0.png": png(1)})
    assert values(open_source(server.url + "/x.tar", 3)) == [1]
    assert server.sent < 3 << 20, "a member that is no image is passed over, and not read"
    server.asked.clear()
    assert len(open_source(server.url + "/x.tar", 3)) == 1
    assert [command for command, _ in server.asked] == ["HEAD"]
    tar(server.folder / "x.tar", {**members, "0.png": png(9)})  # as large as before
    server.modified = NEW
    server.asked.clear()
    assert values(open_source(server.url + "/x.tar", 3)) == [9]
    assert len(server.asked) > 3, "its headers are read again"


def test_a_lost_connection_is_asked_for_again(server: Server) -> None:
    tar(server.folder / "x.tar", {"0.png": png(1)})
    source = open_source(server.url + "/x.tar", 3)
    server.failures = [0, 503]
    assert source.read(0) == png(1)
    server.failures = [503, 503, 503]
    with pytest.raises(
        UserError, match=r"cannot be reached \(.*\), though it was asked for 3 times; check the network"
    ):
        source.read(0)
    server.asked.clear()
    server.failures = [403]
    with pytest.raises(UserError, match=r"is refused|may not be read"):
        source.read(0)
    assert len(server.asked) == 1, "a refusal is final"
    (server.folder / "x.tar").unlink()
    with pytest.raises(UserError, match="is not there; check the address"):
        source.read(0)


def test_a_file_that_ends_too_soon_is_a_bad_image(server: Server) -> None:
    path = tar(server.folder / "x.tar", {"0.png": png(1)})
    source = open_source(server.url + "/x.tar", 3)
    path.write_bytes(path.read_bytes()[:540])
    with pytest.raises(BadImage, match="cut short"):
        source.read(0)
    with pytest.raises(UserError, match="cut short"):
        open_source(server.url + "/x.tar", 3)


def test_what_cannot_be_read_in_ranges_or_is_no_archive_is_refused(server: Server) -> None:
    tar(server.folder / "x.tar", {"0.bin": bytes(2 << 20), "0.png": png(1)})
    server.ranges = False
    with pytest.raises(UserError, match="sends whole files only"):
        open_source(server.url + "/x.tar", 3)
    assert server.sent < 4 << 20
    with pytest.raises(UserError, match="is no tar archive, and nothing else is read from a server"):
        open_source(server.url + "/cats.zip")
    with pytest.raises(UserError, match="is not there; check the address"):
        open_source(server.url + "/none.tar")
    with pytest.raises(UserError, match="is of no kind that can be read"):
        open_source("nothing://host/x.tar")


def test_a_server_that_is_gone_is_one_sentence(server: Server) -> None:
    url = server.url
    server.shutdown()
    server.server_close()
    with pytest.raises(UserError, match="cannot be reached"):
        open_source(url + "/x.tar")


def test_patterns_and_other_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    monkeypatch.setenv("BYOL_HOME", str(tmp_path / "home"))
    memory = fsspec.filesystem("memory")
    for number in range(3):
        path = tar(tmp_path / f"x-{number}.tar", {f"{number}.png": png(number)})
        memory.pipe(f"/bucket/x-{number}.tar", path.read_bytes())
    assert values(open_source("memory://bucket/x-*.tar", 3)) == [0, 1, 2]
    assert values(open_source("memory://bucket/x-[02].tar", 3)) == [0, 2]
    with pytest.raises(UserError, match="matches no file"):
        open_source("memory://bucket/y-*.tar", 3)
    memory.rm("/bucket", recursive=True)


def test_ranges_of_a_file(tmp_path: Path) -> None:
    import fsspec

    data = bytes(range(256)) * 20_000  # larger than four blocks
    fsspec.filesystem("memory").pipe("/ranges.bin", data)
    file = RemoteFile("memory://ranges.bin")
    assert file.about()[0] == len(data)
    assert (file.read(300, 5), file.read(3, 0), file.read(len(data) - 2, 9)) == (data[300:305], b"", data[-2:])
    with file.open(len(data)) as opened:
        for offset, size in ((0, 10), (700, 3), (1 << 20, 5), (5, 2_000_000), (len(data) - 4, 99), (0, -1)):
            opened.seek(offset)
            expected = data[offset:] if size < 0 else data[offset : offset + size]
            assert opened.read(size) == expected
            assert opened.tell() == offset + len(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://a/b.tar", True),
        ("s3://b/c.tar", True),
        ("C:/b.tar", False),
        ("a/b.tar", False),
        ("cifar10:test", False),
    ],
)
def test_what_is_a_url(text: str, expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_remote(text) is expected
    if expected:
        assert is_fetched(text)
        assert absolute(text.replace("b", "[b]*")) == text.replace("b", "[b]*"), (
            "a resumed run finds it by the same URL"
        )


def test_suffixes_of_urls() -> None:
    assert remote_suffix("https://a.b/x.TAR?sign=1.zip") == ".tar"
    assert remote_suffix("s3://bucket/tar") == ""


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"is read with an extra; run: pip install 'byol\[remote\]'"):
        open_source("https://nowhere.invalid/another.tar")


def test_a_run_on_a_server_is_that_on_the_disk(server: Server, image_folder: Path, tmp_path: Path) -> None:
    with tarfile.open(server.folder / "x.tar", "w") as archive:
        for path in sorted(image_folder.iterdir()):
            archive.add(path, path.name)
    settings: dict[str, Any] = {**TINY, "quiet": True, "epochs": 1, "data__memory": "never"}
    byol.pretrain(server.folder / "x.tar", out=tmp_path / "a", **settings)
    byol.pretrain(server.url + "/x.tar", out=tmp_path / "b", **settings)
    assert (tmp_path / "a/encoder.safetensors").read_bytes() == (tmp_path / "b/encoder.safetensors").read_bytes()
