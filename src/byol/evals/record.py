"""A result on the disk, with everything needed to reproduce it."""

import dataclasses
import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import sklearn

import byol.runtime.device
from byol.data.sources.open import Source
from byol.encoders.load import LoadedEncoder
from byol.runtime.checkpoint import write_atomically


@dataclasses.dataclass(frozen=True)
class Origin:
    """How a result was made."""

    command: str = ""
    """What the user typed."""
    seconds: float | None = None
    """How long it took."""


def make_record(
    evaluation: str,
    encoder: LoadedEncoder,
    sources: Mapping[str, Source],
    config: object,
    result: Mapping[str, Any],
    origin: Origin,
) -> dict[str, Any]:
    """A result and how it was made, as JSON values.

    Args:
        evaluation: `knn`, `linear` and so on.
        encoder: its name, fingerprint and transform are recorded.
        sources: the parts by role, `train` and `test`; their names, sizes and fingerprints are recorded.
        config: the evaluation's dataclass, seeds included.
        result: what `evaluate` returned.
        origin: how it was made.
    """
    assert dataclasses.is_dataclass(config)
    assert not isinstance(config, type)
    return {
        "evaluation": evaluation,
        "result": dict(result),
        "encoder": {
            "name": encoder.name,
            "fingerprint": encoder.fingerprint,
            "transform": dataclasses.asdict(encoder.transform),
            "spec": None if encoder.spec is None else dataclasses.asdict(encoder.spec),
        },
        "data": {
            role: {"name": source.name, "images": len(source), "fingerprint": source.fingerprint()}
            for role, source in sources.items()
        },
        "config": dataclasses.asdict(config),
        "command": origin.command,
        "seconds": origin.seconds,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "machine": {**byol.runtime.device.describe(), "scikit-learn": sklearn.__version__},
    }


def write_record(path: Path, record: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> None:
    """Write a record, or a list of them, atomically.

    Raises:
        UserError: the disk is full or not writable.
    """
    text = json.dumps(_plain(record), indent=2, allow_nan=False) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text)


def _plain(value: Any) -> Any:
    """JSON has no NaN, infinity or paths: numbers become null, paths become text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
