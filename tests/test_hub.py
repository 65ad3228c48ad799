"""Data sets on the Hugging Face hub, against a small server that answers as the hub does."""

import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import constants
from huggingface_hub.utils import disable_progress_bars, enable_progress_bars
from PIL import Image

from byol.data.sources.hub import _File, hub_files
from byol.data.sources.open import ParquetSource, TarSource, is_fetched, open_source
from byol.errors import UserError

REVISIONS = {"main": "a" * 40, "v1": "b" * 40, "refs/convert/parquet": "c" * 40}
FILES: dict[str, dict[str, bytes]] = {}
"""Of each commit of `user/name`, its files."""


def png(value: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (6, 4), (value, value, value)).save(file, "PNG")
    return file.getvalue()


def table(*values: int) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({"image": [png(value) for value in values], "label": list(values)}), file)
    return file.getvalue()


class Hub(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        base, _, rest = path.partition("/datasets/user/name")
        commits = {**REVISIONS, **{commit: commit for commit in REVISIONS.values()}}
        if base == "/api":
            kind, _, revision = rest.strip("/").partition("/")
            commit = commits.get(revision or "main", "")
            if commit not in FILES:
                return self.answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            names = FILES[commit]
            if kind == "tree":
                listed = [
                    {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                    for name, data in names.items()
                ]
                return self.answer(200, json.dumps(listed).encode())
            about = {"id": "user/name", "sha": commit, "siblings": [{"rfilename": name} for name in names]}
            return self.answer(200, json.dumps(about).encode())
        if path.startswith("/datasets/user/name/resolve/"):
            revision, name = next(
                (commit, rest.removeprefix(f"/resolve/{asked}/"))
                for asked, commit in commits.items()
                if rest.startswith(f"/resolve/{asked}/")
            )
            data = FILES[revision][name]
            mark = {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X-Repo-Commit": revision}
            return self.answer(200, data, mark)
        return self.answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    def do_HEAD(self) -> None:
        self.do_GET()

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Nothing."""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    """A hub without data sets, and an empty cache."""
    FILES.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    disable_progress_bars()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()
    enable_progress_bars()


def values(text: str) -> list[int]:
    source = open_source(text, 3)
    return [int(source.image(index)[0, 0, 0]) for index in range(len(source))]


def test_parts_and_revisions(hub: ThreadingHTTPServer) -> None:
    FILES[REVISIONS["main"]] = {
        "README.md": b"about",
        "data/train-00000-of-00002.parquet": table(1, 2),
        "data/train-00001-of-00002.parquet": table(3),
        "data/test-00000-of-00001.parquet": table(4),
    }
    FILES[REVISIONS["v1"]] = {"data/train-00000-of-00001.parquet": table(9)}
    source = open_source("hf:user/name", 3)
    assert isinstance(source, ParquetSource)
    assert (source.name, source.labels) == ("hf:user/name", [1, 2, 3])
    assert values("hf:user/name") == [1, 2, 3]
    assert values("hf:user/name:test") == [4]
    assert values("hf:user/name@v1:train") == [9]
    with pytest.raises(UserError, match=r"has no part 'validation' \(there is test, train\)"):
        open_source("hf:user/name:validation")
    with pytest.raises(UserError, match="names no data set on the hub; give hf:user/name"):
        open_source("hf:name")
    assert is_fetched("hf:user/name")


def test_configurations(hub: ThreadingHTTPServer) -> None:
    FILES[REVISIONS["main"]] = {
        "big/train-00000-of-00001.parquet": table(1),
        "small/train-00000-of-00001.parquet": table(2),
    }
    assert values("hf:user/name/small") == [2]
    with pytest.raises(UserError, match=r"several configurations \(there are big, small\); .* 'hf:user/name/small'"):
        open_source("hf:user/name")
    with pytest.raises(UserError, match=r"no configuration 'huge' \(there are big, small\)"):
        open_source("hf:user/name/huge")


def test_archives_and_what_the_hub_converted(hub: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BYOL_HOME", constants.HF_HUB_CACHE)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        info = tarfile.TarInfo("0.png")
        info.size = len(png(7))
        archive.addfile(info, io.BytesIO(png(7)))
    FILES[REVISIONS["main"]] = {"shard-000.tar": packed.getvalue()}
    assert isinstance(open_source("hf:user/name"), TarSource)
    assert values("hf:user/name") == [7]
    FILES[REVISIONS["main"]] = {"images.zip": b"PK"}
    with pytest.raises(UserError, match="has no Parquet files and no tar archives"):
        open_source("hf:user/name")
    FILES[REVISIONS["refs/convert/parquet"]] = {
        "default/train/0000.parquet": table(5),
        "default/train/0001.parquet": table(6),
        "default/test/0000.parquet": table(8),
    }
    assert (values("hf:user/name"), values("hf:user/name:test")) == ([5, 6], [8])
    assert open_source("hf:user/name").notes == ()
    monkeypatch.setitem(REVISIONS, "refs/convert/parquet", "d" * 40)
    FILES["d" * 40] = {"default/partial-train/0000.parquet": table(5)}
    assert "holds the first part of the data set only" in open_source("hf:user/name").notes[0]


def test_without_a_network_what_was_fetched_is_there(hub: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    FILES[REVISIONS["main"]] = {
        "data/train-00000-of-00002.parquet": table(1, 2),
        "data/train-00001-of-00002.parquet": table(3),
        "data/test-00000-of-00001.parquet": table(4),
    }
    fetched = hub_files("hf:user/name")
    hub.shutdown()
    hub.server_close()
    assert values("hf:user/name") == [1, 2, 3]
    with pytest.raises(UserError, match=r"has no part 'test'"):
        open_source("hf:user/name:test")
    fetched[1].unlink()
    with pytest.raises(UserError, match="was not fetched whole, and the hub cannot be reached"):
        open_source("hf:user/name")
    with pytest.raises(UserError) as caught:
        open_source("hf:user/other")
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("'hf:user/other' cannot be fetched from the Hugging Face hub (")
    assert message.endswith(
        "check the name and the network, or give a local copy, such as a folder of its Parquet files."
    )


def test_a_data_set_that_is_not_there(hub: ThreadingHTTPServer) -> None:
    with pytest.raises(UserError, match="'hf:user/other' cannot be fetched from the Hugging Face hub"):
        open_source("hf:user/other")


@pytest.mark.parametrize(
    ("path", "config", "part"),
    [
        ("data/train-00000-of-00001-0f3a.parquet", "", "train"),
        ("train.parquet", "", "train"),
        ("cifar10/test/0000.parquet", "cifar10", "test"),
        ("default/partial-train/0000.parquet", "default", "train"),
        ("data/validation-00000-of-00003.parquet", "", "validation"),
        ("plain_text/train-00000-of-00001.parquet", "plain_text", "train"),
        ("0000.parquet", "", ""),
        ("imagenet-train-0000.tar", "", "train"),
    ],
)
def test_where_files_belong(path: str, config: str, part: str) -> None:
    assert _File.of(path) == _File(path, config, part)
