"""Data sets on the Hugging Face hub: `hf:user/name`, kept where the hub's own client keeps what it fetches."""

import glob
import logging
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from byol.data.sources.parts import READINGS, part_of
from byol.errors import UserError, nearest

__all__ = ["HUB", "PARTIAL", "hub_files", "is_on_hub"]

HUB = "hf:"
"""Beginning of the name of a data set on the hub."""
NAME = re.compile(
    r"hf:(?P<user>[\w.-]+)/(?P<name>[\w.-]+)(/(?P<config>[^:@]+))?(@(?P<revision>[^:]+))?(:(?P<part>[^:]+))?"
)
CONVERTED = "refs/convert/parquet"
"""Where the hub keeps a copy in Parquet of data sets that are stored in another way."""
PARTIAL = "partial-"
"""Beginning of the folders of such a copy where it is not whole: the hub converts the first gigabytes of a data set."""
SUFFIXES = (".parquet", ".tar")
"""What is read, the first that there is."""
DEFAULT = "default"
"""What the hub calls the configuration of a data set that has one, and where this goes without saying."""
WAIT = 10.0
"""Seconds that the hub has to answer."""
PLAIN_FOLDERS = frozenset({"data", "parquet", "shards"})
"""Folders that are no configuration."""


@dataclass(frozen=True)
class _File:
    """A file of a data set."""

    path: str
    config: str
    """Folders above it that are neither a part nor `data`; empty where there are none."""
    part: str
    """`train` and the like; empty where nothing says."""

    @classmethod
    def of(cls, path: str) -> "_File":
        *folders, name = PurePosixPath(path).parts
        stem = name.rpartition(".")[0]
        words = [*folders, re.split(r"[-_. ]", stem)[0], re.sub(r"[-_.]?\d.*$", "", stem)]
        part = next((found for word in reversed(words) if (found := part_of(word)) is not None), "")
        config = "/".join(folder for folder in folders if part_of(folder) is None and folder not in PLAIN_FOLDERS)
        return cls(path, config, part)


def is_on_hub(text: str) -> bool:
    """Whether a text names a data set on the hub: `hf:user/name`."""
    return text.startswith(HUB)


def hub_files(text: str) -> list[Path]:
    """Local copies of the Parquet files, or else tar archives, of a part of a data set, fetched the first time.

    Args:
        text: `hf:user/name`, then `/config` where it has several configurations, `@revision`, and `:part`; by default
            the training part.

    Raises:
        UserError: no such data set, configuration or part, nothing in it that is read, or no network.
    """
    found = NAME.fullmatch(text)
    if found is None:
        raise UserError(f"{text!r} names no data set on the hub; give hf:user/name, or hf:user/name:test for a part.")
    repository, revision = f"{found['user']}/{found['name']}", found["revision"]
    for wanted in (revision,) if revision else (None, CONVERTED):
        try:
            listed = _listed(text, repository, wanted)
        except UserError:
            if wanted == CONVERTED:  # not converted: what was found at first counts
                break
            raise
        files = [_File.of(path) for path in listed]
        for suffix in SUFFIXES:
            if fitting := [file for file in files if file.path.lower().endswith(suffix)]:
                chosen = _part(text, _config(text, fitting, found["config"]), found["part"])
                return _fetched(text, repository, wanted, [file.path for file in chosen])
    raise UserError(
        f"{text!r} has no Parquet files and no tar archives; fetch it by other means and give a folder of its images."
    )


def _config(text: str, files: list[_File], wanted: str | None) -> list[_File]:
    configs = sorted({file.config for file in files})
    if wanted is None:
        wanted = configs[0] if len(configs) == 1 else next((name for name in ("", DEFAULT) if name in configs), None)
    if wanted is None or wanted not in configs:
        names = ", ".join(filter(None, configs)) or "none"
        base = NAME.fullmatch(text)
        assert base is not None, "it was read before"
        example = f"hf:{base['user']}/{base['name']}/{configs[-1]}"
        given = "several configurations" if wanted is None else f"no configuration {wanted!r}"
        raise UserError(f"{text!r} has {given} (there are {names}); give one of them, such as {example!r}.")
    return [file for file in files if file.config == wanted]


def _part(text: str, files: list[_File], wanted: str | None) -> list[_File]:
    parts = sorted({file.part for file in files})
    part = wanted if wanted is None else part_of(wanted) or wanted
    if part is None:
        part = next((name for name in ("train", "", *READINGS) if name in parts), parts[0])
    if part not in parts:
        names = ", ".join(filter(None, parts)) or "one alone"
        raise UserError(f"{text!r} has no part {wanted!r} (there is {names}).{nearest(part, parts)}")
    return [file for file in files if file.part == part]


def _listed(text: str, repository: str, revision: str | None) -> list[str]:
    """The files of a data set; without a network, those that were fetched before."""
    from huggingface_hub import HfApi, snapshot_download

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # a warning for each of six attempts
    try:
        # not `list_repo_files`, which asks six times before it says that there is no network
        about = HfApi().dataset_info(repository, revision=revision, timeout=WAIT)
        return sorted(file.rfilename for file in about.siblings or [])
    except Exception as error:  # whatever the hub's client raises without a network, or without such a data set
        try:
            folder = Path(
                snapshot_download(
                    repository, repo_type="dataset", revision=revision, local_files_only=True, allow_patterns=[""]
                )
            )
        except Exception:  # it was never fetched
            raise _unreachable(text, error) from error
        return sorted(str(path.relative_to(folder).as_posix()) for path in folder.rglob("*") if path.is_file())


def _fetched(text: str, repository: str, revision: str | None, paths: list[str]) -> list[Path]:
    from huggingface_hub import snapshot_download

    missing = _missing(paths)
    try:
        folder = snapshot_download(
            repository, repo_type="dataset", revision=revision, allow_patterns=[glob.escape(path) for path in paths]
        )
    except Exception as error:  # whatever the hub's client raises where the network or the disk gives up
        raise _unreachable(text, error) from error
    files = [Path(folder) / path for path in paths]
    if missing or not all(file.is_file() for file in files):
        raise UserError(f"{text!r} was not fetched whole, and the hub cannot be reached; check the network.")
    return files


def _missing(paths: list[str]) -> bool:
    """Whether names such as `train-00000-of-00004.parquet` say that there are more files."""
    counted: dict[str, set[int]] = {}
    for path in paths:
        found = re.fullmatch(r"(.*)-(\d+)-of-(\d+)(.*)", path)
        if found is not None:
            counted.setdefault(f"{found[1]} {found[3]} {found[4]}", set()).add(int(found[2]))
    return any(len(numbers) < int(name.split(" ")[-2]) for name, numbers in counted.items())


def _unreachable(text: str, error: Exception) -> UserError:
    reason = " ".join(str(error).split())[:120].rstrip(" .")
    return UserError(
        f"{text!r} cannot be fetched from the Hugging Face hub ({reason}); check the name and the network, or give a "
        "local copy, such as a folder of its Parquet files."
    )
