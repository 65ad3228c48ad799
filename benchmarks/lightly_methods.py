"""lightly's BYOL, SimCLR and SwAV, with its modules, losses and transforms, as its CIFAR-10 benchmark sets them up.

Its sizes, rates and views at batch 128: docs/source/getting_started/benchmarks/cifar10_benchmark.py of lightly.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

HIDDEN = 512
OUTPUT = 128
PROTOTYPES = 512
"""Of SwAV, in lightly's example and benchmark."""
TAU = 0.99


class LightlyMethod(nn.Module, ABC):
    """A method of lightly around a backbone, (N, 3, H, W) -> (N, features)."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    @abstractmethod
    def transform(self) -> Callable[[Any], list[Tensor]]:
        """An image's views, 32 px, without blur."""

    @abstractmethod
    def loss(self, views: list[Tensor]) -> Tensor:
        """Of a batch's views, each (N, 3, 32, 32)."""

    def optimizer(self) -> torch.optim.Optimizer:
        """SGD; its rate is the start of a cosine schedule."""
        return torch.optim.SGD(self.trained(), lr=0.06, momentum=0.9, weight_decay=5e-4)

    def trained(self) -> list[nn.Parameter]:
        """What the optimizer changes."""
        return [weight for weight in self.parameters() if weight.requires_grad]

    def before_update(self) -> None:
        """What the method does before each update."""


def _two_views() -> Callable[[Any], list[Tensor]]:
    from lightly.transforms import SimCLRTransform

    return SimCLRTransform(input_size=32, gaussian_blur=0.0)  # type: ignore[no-any-return]


class LightlyBYOL(LightlyMethod):
    """Heads of 1024 and 256, as in its CIFAR-10 benchmark, unless others are given."""

    def __init__(self, backbone: nn.Module, features: int, hidden: int = 1024, output: int = 256) -> None:
        from lightly.loss import NegativeCosineSimilarity
        from lightly.models.modules import BYOLPredictionHead, BYOLProjectionHead
        from lightly.models.utils import deactivate_requires_grad

        super().__init__(backbone)
        self.projection = BYOLProjectionHead(features, hidden, output)
        self.prediction = BYOLPredictionHead(output, hidden, output)
        self.target = copy.deepcopy(nn.Sequential(backbone, nn.Flatten(), self.projection))
        deactivate_requires_grad(self.target)
        self.criterion = NegativeCosineSimilarity()

    def transform(self) -> Callable[[Any], list[Tensor]]:
        return _two_views()

    def before_update(self) -> None:
        from lightly.models.utils import update_momentum

        update_momentum(self.backbone, self.target[0], m=TAU)
        update_momentum(self.projection, self.target[2], m=TAU)

    def networks(self) -> list[nn.Module]:
        """Encoder and heads, and the target's."""
        return [self.backbone, self.projection, self.prediction, self.target[0], self.target[2]]

    def loss(self, views: list[Tensor]) -> Tensor:
        (p0, z0), (p1, z1) = map(self._both, views)
        value: Tensor = 0.5 * (self.criterion(p0, z1) + self.criterion(p1, z0))
        return value

    def _both(self, view: Tensor) -> tuple[Tensor, Tensor]:
        """The prediction, and the target's projection; the example makes no use of no_grad for this."""
        prediction = self.prediction(self.projection(self.backbone(view).flatten(start_dim=1)))
        return prediction, self.target(view).detach()


class LightlySimCLR(LightlyMethod):
    """Temperature 0.5, its default."""

    def __init__(self, backbone: nn.Module, features: int) -> None:
        from lightly.loss import NTXentLoss
        from lightly.models.modules import SimCLRProjectionHead

        super().__init__(backbone)
        self.projection = SimCLRProjectionHead(features, HIDDEN, OUTPUT)
        self.criterion = NTXentLoss()

    def transform(self) -> Callable[[Any], list[Tensor]]:
        return _two_views()

    def loss(self, views: list[Tensor]) -> Tensor:
        value: Tensor = self.criterion(*(self.projection(self.backbone(x).flatten(start_dim=1)) for x in views))
        return value


class LightlySwAV(LightlyMethod):
    """Two crops of 32 px and 512 prototypes, as in its CIFAR-10 benchmark."""

    def __init__(self, backbone: nn.Module, features: int) -> None:
        from lightly.loss import SwaVLoss
        from lightly.models.modules import SwaVProjectionHead, SwaVPrototypes

        super().__init__(backbone)
        self.projection = SwaVProjectionHead(features, HIDDEN, OUTPUT)
        self.prototypes = SwaVPrototypes(OUTPUT, n_prototypes=PROTOTYPES)
        self.criterion = SwaVLoss()

    def transform(self) -> Callable[[Any], list[Tensor]]:
        from lightly.transforms import SwaVTransform

        return SwaVTransform(  # type: ignore[no-any-return]
            crop_sizes=(32,), crop_counts=(2,), crop_min_scales=(0.14,), crop_max_scales=(1.0,), gaussian_blur=0.0
        )

    def optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.trained(), lr=1e-3, weight_decay=1e-6)

    def before_update(self) -> None:
        self.prototypes.normalize()

    def loss(self, views: list[Tensor]) -> Tensor:
        features = [self.projection(self.backbone(x).flatten(start_dim=1)) for x in views]
        scores = [self.prototypes(nn.functional.normalize(x.float(), dim=1)) for x in features]
        value: Tensor = self.criterion(scores, [])
        return value


METHODS: dict[str, type[LightlyMethod]] = {"byol": LightlyBYOL, "simclr": LightlySimCLR, "swav": LightlySwAV}
"""By name; each is made of a backbone and the length of its features."""
