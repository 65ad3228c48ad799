"""From a config to a method with weights just drawn."""

from collections.abc import Callable

from torch import nn

from byol.config.run import Method, NetworkConfig, PretrainConfig
from byol.encoders.build import MLP, initialize, make_encoder, scale_weights
from byol.methods.byol import BYOL
from byol.methods.infonce import InfoNCE
from byol.methods.moco import MoCo
from byol.methods.random import Random
from byol.methods.simclr import SimCLR
from byol.methods.supervised import Supervised

AnyMethod = BYOL | InfoNCE | SimCLR | MoCo | Supervised | Random
"""What they have in common: `forward(view1, view2)` gives the loss, `update_target(tau)` follows the optimizer, and
`encoder` and `projector` are what is learned and what is looked at."""


def make_method(config: PretrainConfig, in_chans: int, classes: int | None) -> AnyMethod:
    """The method of a config. Weights come from PyTorch's default generator, the encoder's first where the target is
    no network of its own: one seed gives all methods the same encoder to start from.

    Args:
        config: of the run.
        in_chans: channels of the images.
        classes: how many labels there are, which only `supervised` asks for.
    """
    method = METHODS[config.method](config, in_chans, classes)
    scale_weights(method, config.network.init_scale)
    return method


def _byol(config: PretrainConfig, in_chans: int, classes: int | None) -> BYOL:
    target = _online_networks(config, in_chans) if config.target.start == "apart" else None
    networks = *_online_networks(config, in_chans), _predictor(config)
    return BYOL(*networks, target, kind=config.target.kind, normalization=config.loss.normalization)


def _infonce(config: PretrainConfig, in_chans: int, classes: int | None) -> InfoNCE:
    target = _online_networks(config, in_chans) if config.target.start == "apart" else None
    networks = *_online_networks(config, in_chans), _predictor(config)
    temperature = config.loss.temperature_of(config.method)
    return InfoNCE(*networks, target, kind=config.target.kind, beta=config.loss.beta, temperature=temperature)


def _simclr(config: PretrainConfig, in_chans: int, classes: int | None) -> SimCLR:
    return SimCLR(*_online_networks(config, in_chans), temperature=config.loss.temperature_of(config.method))


def _moco(config: PretrainConfig, in_chans: int, classes: int | None) -> MoCo:
    moco = config.moco
    return MoCo(
        *_online_networks(config, in_chans),
        config.network.output,
        queue=moco.queue,
        temperature=config.loss.temperature_of(config.method),
        shuffle=moco.shuffle,
        splits=moco.splits,
    )


def _supervised(config: PretrainConfig, in_chans: int, classes: int | None) -> Supervised:
    assert classes is not None, "labels are asked for before anything is built"
    method = Supervised(_encoder(config, in_chans), classes)
    if config.network.init == "official":
        initialize(method.classifier)
    return method


def _random(config: PretrainConfig, in_chans: int, classes: int | None) -> Random:
    return Random(_encoder(config, in_chans))


METHODS: dict[Method, Callable[[PretrainConfig, int, int | None], AnyMethod]] = {
    "byol": _byol,
    "infonce": _infonce,
    "simclr": _simclr,
    "moco": _moco,
    "supervised": _supervised,
    "random": _random,
}


def _encoder(config: PretrainConfig, in_chans: int) -> nn.Module:
    network = config.network
    return make_encoder(
        config.encoder,
        width=network.width,
        stem=network.stem,
        in_chans=in_chans,
        init=network.init,
        zero_init_last=network.zero_init_last,
    )


def _online_networks(config: PretrainConfig, in_chans: int) -> tuple[nn.Module, nn.Module]:
    """An encoder and a projector."""
    encoder = _encoder(config, in_chans)
    return encoder, _head(config.network, int(encoder.num_features), config.network.projector_depth)  # type: ignore[arg-type]


def _predictor(config: PretrainConfig) -> nn.Module:
    return _head(config.network, config.network.output, config.network.predictor_depth)


def _head(network: NetworkConfig, in_features: int, depth: int) -> nn.Module:
    if depth == 0:
        return nn.Identity()
    head = MLP(in_features, network.hidden, network.output, depth)
    if network.init == "official":
        initialize(head)
    return head
