"""The heads of a method: projectors and predictors."""

from torch import nn

from byol.config.encoder import EncoderSpec
from byol.encoders.init import initialize, scale_weights
from byol.errors import UserError


class MLP(nn.Sequential):
    """Projector or predictor: (N, in_features) -> (N, out_features).

    Linear layers with batch norm and ReLU between them (Section 3.3); all but the last have a bias, the last has none
    (official code, utils/networks.py:41-44). Depth counts linear layers (Appendix F.1); depth 1 is one linear layer.

    Args:
        in_features: size of the input vectors.
        hidden: width of each hidden layer, 4096 in the paper.
        out_features: size of the output vectors, 256 in the paper.
        depth: number of linear layers, 1 to 3 in the paper's study.
    """

    def __init__(self, in_features: int, hidden: int, out_features: int, depth: int = 2) -> None:
        if depth < 1:
            raise UserError(f"A head of depth {depth} has no layer; give 1 or more (the paper's is 2).")
        layers: list[nn.Module] = []
        for _ in range(depth - 1):
            # momentum 0.1 is the paper's decay rate of 0.9 (Appendix J)
            layers += [nn.Linear(in_features, hidden), nn.BatchNorm1d(hidden, eps=1e-5, momentum=0.1), nn.ReLU(True)]
            in_features = hidden
        super().__init__(*layers, nn.Linear(in_features, out_features, bias=False))


def output_size(head: nn.Module) -> int:
    """Length of the vectors that a head gives: that of its last linear layer."""
    return [layer.out_features for layer in head.modules() if isinstance(layer, nn.Linear)][-1]


def make_head(in_features: int, hidden: int, out_features: int, depth: int, spec: EncoderSpec) -> nn.Module:
    """An MLP with the first weights of a spec; the identity at depth 0."""
    return nn.Identity() if depth == 0 else set_first_weights(MLP(in_features, hidden, out_features, depth), spec)


def set_first_weights(head: nn.Module, spec: EncoderSpec) -> nn.Module:
    """Give a head that was just built the first weights that an encoder's spec asks for (`init`, `init_scale`)."""
    if spec.init == "official":
        initialize(head)
    if spec.init_scale != 1:
        scale_weights(head, spec.init_scale)
    return head
