"""Weights that others keep on the Hugging Face hub: timm's own, and files of anyone's."""

import logging
from functools import cache
from pathlib import Path

import timm
from torch import nn

from byol.errors import UserError, nearest

HUB = "hf-hub:"
"""Beginning of a name of anyone's weights on the hub, as timm has it: hf-hub:ORGANIZATION/NAME."""
FILES = ("model.safetensors", "pytorch_model.bin")


def pretrained_timm(name: str, channels: int, native_size: int | None = None) -> nn.Module:
    """A timm model with its pretrained weights, without its classifier.

    Args:
        name: timm's, with the tag of the weights or without.
        channels: of the images.
        native_size: side of the images that it is built for, in pixels; by default timm's own.

    Raises:
        UserError: no such model, no weights, or no network to fetch them through.
    """
    if not timm.is_model(name):
        raise UserError(f"timm has no model {name!r}.{nearest(name, timm.list_models())}")
    _quiet()
    size = {} if native_size is None else {"img_size": native_size}
    try:
        module: nn.Module = timm.create_model(name, pretrained=True, num_classes=0, in_chans=channels, **size)
    except Exception as error:  # whatever the hub's client raises without a network, without weights, or half way
        raise UserError(
            f"The pretrained weights of {name!r} cannot be reached ({_reason(error)}); check the network, give a file "
            f"of weights, or random:{name} for the same network untrained."
        ) from error
    return module


@cache
def hub_file(name: str) -> Path:
    """The local copy of a file of weights on the hub, its `config.json` beside it.

    Args:
        name: hf-hub:ORGANIZATION/NAME, with @REVISION or without.

    Raises:
        UserError: no such weights, or no network to fetch them through.
    """
    from huggingface_hub import hf_hub_download

    _quiet()
    repository, _, revision = name.removeprefix(HUB).partition("@")
    reason = ""
    for file in FILES:
        try:
            hf_hub_download(repository, "config.json", revision=revision or None)
            return Path(hf_hub_download(repository, file, revision=revision or None))
        except Exception as error:  # whatever the hub's client raises without a network, or without such a file
            reason = reason or _reason(error)
    raise UserError(
        f"The weights {name!r} cannot be reached ({reason}); check the name and the network, or download "
        f"{FILES[0]} and config.json elsewhere and give their folder."
    )


def cached_file(repository: str) -> Path | None:
    """The file of weights of a repository that was fetched before; None where there is none."""
    from huggingface_hub import try_to_load_from_cache

    found = (try_to_load_from_cache(repository, file) for file in FILES)
    return next((Path(file) for file in found if isinstance(file, str)), None)


def _quiet() -> None:
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # a warning for each of six attempts


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:120].rstrip(" .")
