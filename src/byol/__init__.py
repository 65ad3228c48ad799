"""BYOL: from stored images to a trained encoder, and the evaluations that say what it is worth.

`byol.pretrain("photos/")` does all of it; `byol.BYOL(encoder)` is the method alone, for a loop of your own.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from byol.data.sources import Source as Source
    from byol.data.sources import TensorSource as TensorSource
    from byol.data.sources import open_source as open_source
    from byol.encoder_file import load_encoder as load_encoder
    from byol.errors import UserError as UserError
    from byol.lars import LARS as LARS
    from byol.lars import parameter_groups as parameter_groups
    from byol.methods.byol import BYOL as BYOL
    from byol.methods.infonce import InfoNCE as InfoNCE
    from byol.methods.moco import MoCo as MoCo
    from byol.methods.simclr import SimCLR as SimCLR
    from byol.methods.supervised import Supervised as Supervised
    from byol.networks import MLP as MLP
    from byol.networks import make_encoder as make_encoder
    from byol.pretraining import pretrain as pretrain
    from byol.pretraining import resume as resume

_HOMES = {
    "BYOL": "byol.methods.byol",
    "InfoNCE": "byol.methods.infonce",
    "LARS": "byol.lars",
    "MLP": "byol.networks",
    "MoCo": "byol.methods.moco",
    "SimCLR": "byol.methods.simclr",
    "Source": "byol.data.sources",
    "Supervised": "byol.methods.supervised",
    "TensorSource": "byol.data.sources",
    "UserError": "byol.errors",
    "load_encoder": "byol.encoder_file",
    "make_encoder": "byol.networks",
    "open_source": "byol.data.sources",
    "parameter_groups": "byol.lars",
    "pretrain": "byol.pretraining",
    "resume": "byol.pretraining",
}

__all__ = [*sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: `byol --help` must not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'byol' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
