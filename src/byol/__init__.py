"""BYOL: from stored images to a trained encoder, and the evaluations that say what it is worth.

`byol.pretrain("photos/")` does all of it; `byol.BYOL(encoder)` is the method alone, for a loop of your own.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from byol.config.encoder import EncoderSpec as EncoderSpec
    from byol.data.sources.base import Source as Source
    from byol.data.sources.open import open_source as open_source
    from byol.data.sources.tensor import TensorSource as TensorSource
    from byol.encoders.build import make_encoder as make_encoder
    from byol.encoders.file import load_encoder as load_encoder
    from byol.errors import UserError as UserError
    from byol.explore.embedder import Embedder as Embedder
    from byol.methods.byol import BYOL as BYOL
    from byol.methods.heads import MLP as MLP
    from byol.methods.infonce import InfoNCE as InfoNCE
    from byol.methods.moco import MoCo as MoCo
    from byol.methods.simclr import SimCLR as SimCLR
    from byol.methods.supervised import Supervised as Supervised
    from byol.optim.lars import LARS as LARS
    from byol.optim.lars import parameter_groups as parameter_groups
    from byol.pretraining.resume import resume as resume
    from byol.pretraining.run import pretrain as pretrain

_HOMES = {
    "BYOL": "byol.methods.byol",
    "Embedder": "byol.explore.embedder",
    "EncoderSpec": "byol.config.encoder",
    "InfoNCE": "byol.methods.infonce",
    "LARS": "byol.optim.lars",
    "MLP": "byol.methods.heads",
    "MoCo": "byol.methods.moco",
    "SimCLR": "byol.methods.simclr",
    "Source": "byol.data.sources.base",
    "Supervised": "byol.methods.supervised",
    "TensorSource": "byol.data.sources.tensor",
    "UserError": "byol.errors",
    "load_encoder": "byol.encoders.file",
    "make_encoder": "byol.encoders.build",
    "open_source": "byol.data.sources.open",
    "parameter_groups": "byol.optim.lars",
    "pretrain": "byol.pretraining.run",
    "resume": "byol.pretraining.resume",
}

__all__ = [*sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: `byol --help` must not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'byol' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
