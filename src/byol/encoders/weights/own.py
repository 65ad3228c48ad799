"""Checkpoints of our own runs; the encoder that a run exports has a card beside it (`byol.encoders.file`)."""

import json
from pathlib import Path

from byol.config.encoder import EncoderSpec
from byol.config.run import PretrainConfig
from byol.config.values import from_json
from byol.encoders.weights.contents import Contents
from byol.encoders.weights.found import Found, Stated, rest, under
from byol.errors import UserError

PREFIX = "method.encoder."
WORDS = {
    "method.target_encoder.": "target encoder",
    "method.target_projector.": "target projector",
    "method.projector.": "projector",
    "method.predictor.": "predictor",
    "optimizer.": "optimizer",
}


def find(contents: Contents) -> Found | None:
    """The encoder that the run exports, the online one; the run's `config.json` says which it is."""
    state = contents.top
    weights = under(state, PREFIX)
    if contents.container != "safetensors" or not weights:
        return None
    return Found(
        layout="checkpoint of a byol run",
        weights=weights,
        part="the encoder that the run exports (method.encoder)",
        left_out=rest(state, PREFIX, WORDS),
        stated=Stated(spec=_trained_encoder(contents.path.parent.parent / "config.json")),
    )


def _trained_encoder(config: Path) -> EncoderSpec | None:
    """The encoder of a run, as its settings say; None where the checkpoint lies elsewhere."""
    try:
        return from_json(PretrainConfig, json.loads(config.read_text())["config"]).trained_encoder()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, UserError):
        return None
