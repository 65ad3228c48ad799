"""Shards in object storage: `s3://` through fsspec, against a local server that speaks the protocol (moto's)."""

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import byol
from byol.data.sources import remote
from byol.data.sources.open import open_source
from byol.errors import UserError
from conftest import TINY
from test_tar import png, tar, values

s3fs = pytest.importorskip("s3fs", reason="s3:// takes s3fs")
boto3 = pytest.importorskip("boto3", reason="the server is moto's, which has boto3")
moto_server = pytest.importorskip("moto.server", reason="the server is moto's")

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client for an empty bucket `photos`, which fsspec finds by what is in the environment."""
    settings = {"AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": "us", "AWS_SECRET_ACCESS_KEY": "secret"}
    for name, value in {**settings, "AWS_DEFAULT_REGION": "us-east-1", "BYOL_HOME": str(tmp_path / "home")}.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(remote, "PAUSES", (0.0, 0.0))
    forget()
    client = boto3.client("s3")
    client.create_bucket(Bucket="photos")
    yield client
    for found in client.list_objects_v2(Bucket="photos").get("Contents", ()):
        client.delete_object(Bucket="photos", Key=found["Key"])
    client.delete_bucket(Bucket="photos")
    client.close()
    forget()


def forget() -> None:
    """Let the next one look at the environment anew."""
    s3fs.S3FileSystem.clear_instance_cache()
    remote._filesystem.cache_clear()


def put(client: Any, path: Path, key: str) -> None:
    client.put_object(Bucket="photos", Key=key, Body=path.read_bytes())


def test_shards_are_read_from_a_bucket_as_from_the_disk(bucket: Any, tmp_path: Path) -> None:
    first = tar(tmp_path / "x-0.tar", {"0.png": png(1), "0.cls": "5", "1.png": png(2), "1.cls": "6"})
    second = tar(tmp_path / "x-1.tar", {"2.png": png(3), "2.cls": "5"})
    for path in (first, second):
        put(bucket, path, f"set/{path.name}")
    local = open_source(str(tmp_path / "x-*.tar"), 3)
    for name in ("s3://photos/set/x-{0..1}.tar", "s3://photos/set/x-*.tar", "s3://photos/set/x-[01].tar"):
        source = open_source(name, 3)
        assert values(source) == [1, 2, 3]
        assert (source.labels, source.fingerprint()) == ([5, 6, 5], local.fingerprint())
        assert source.where(2) == "s3://photos/set/x-1.tar member 2.png"
        assert source.read(1) == png(2)


def test_an_object_that_is_written_anew_is_indexed_anew(bucket: Any, tmp_path: Path) -> None:
    """Of the same size, in the same process, however it is named."""
    for name in ("s3://photos/x.tar", "s3://photos/*.tar"):
        states = set()
        for value in (1, 9):
            put(bucket, tar(tmp_path / "x.tar", {"0.png": png(value)}), "x.tar")
            source = open_source(name, 3)
            assert values(source) == [value]
            states.add(source.state(0))
        assert len(states) == 2


def test_what_is_not_there_or_may_not_be_read_is_told_at_once(
    bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "PAUSES", (600.0,))
    for name in ("s3://photos/none.tar", "s3://nowhere-at-all/none.tar"):
        with pytest.raises(UserError, match=r"is not there; check the address"):
            open_source(name)
    with pytest.raises(UserError, match="matches no file; check the address"):
        open_source("s3://photos/none-*.tar")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    forget()
    with pytest.raises(
        UserError, match=r"asks for credentials \(.*\); set AWS_ACCESS_KEY_ID and .* for a public bucket"
    ):
        open_source("s3://photos/x.tar")


def test_a_run_on_a_bucket_is_that_on_the_disk(bucket: Any, image_folder: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for path in sorted(image_folder.iterdir()):
            archive.add(path, path.name)
    put(bucket, tmp_path / "x.tar", "x.tar")
    settings: dict[str, Any] = {**TINY, "quiet": True, "epochs": 1, "data__memory": "never"}
    for name, data in (("a", tmp_path / "x.tar"), ("b", "s3://photos/x.tar")):
        byol.pretrain(data, out=tmp_path / name, **settings)
    assert (tmp_path / "a/encoder.safetensors").read_bytes() == (tmp_path / "b/encoder.safetensors").read_bytes()
