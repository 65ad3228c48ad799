"""The protocol of a pretraining method. Training, loading, augmentation and health know nothing else of one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, Self

from torch import Tensor, nn

from byol.config.encoder import EncoderSpec
from byol.config.methods import ProjectorConfig
from byol.config.run import PretrainConfig
from byol.config.views import ViewSpec
from byol.data.batch import Batch as Batch
from byol.encoders.build import feature_count, make_encoder
from byol.encoders.start import start_encoder
from byol.methods.heads import make_head, set_first_weights

Need = Literal["labels", "index", "draws"]
"""What a batch may carry besides views."""


@dataclass(frozen=True)
class Progress:
    """How far a run has come."""

    step: int
    """Update that is being made, from 0."""
    total: int
    """Updates in the whole run."""


@dataclass(frozen=True)
class TrainingSet:
    """What is known of the training images before a network is built."""

    images: int
    labels: Sequence[int] | None = None
    remark: str = ""
    """Why there are no labels, where that is known."""
    name: str = "the data"
    world_size: int = 1
    """Processes that train together."""

    @property
    def classes(self) -> int | None:
        """How many labels there are, counted from 0 on."""
        return max(self.labels) + 1 if self.labels else None


@dataclass(frozen=True)
class Ingredients:
    """What a method is built from. Weights come from PyTorch's default generator, in the order of the calls."""

    encoder: EncoderSpec
    data: TrainingSet
    view_sizes: tuple[int, ...]
    """Side of each of the method's views, in pixels."""

    def make_encoder(self, channels: int | None = None) -> nn.Module:
        """A network of the run's encoder; for other channels than the images have, with fresh weights."""
        if channels in (None, self.encoder.channels):
            return start_encoder(self.encoder)
        return make_encoder(self.encoder.untrained().for_channels(channels))

    def make_online(self, config: ProjectorConfig) -> tuple[nn.Module, nn.Module]:
        """An encoder, and a projector on top of it."""
        encoder = self.make_encoder()
        return encoder, self.make_head(feature_count(encoder), config.hidden, config.output, config.projector_depth)

    def make_head(self, in_features: int, hidden: int, out_features: int, depth: int) -> nn.Module:
        """An MLP with the run's first weights; the identity at depth 0."""
        return make_head(in_features, hidden, out_features, depth, self.encoder)

    def with_first_weights(self, head: nn.Module) -> nn.Module:
        """A head of a method's own that was just built, with the run's first weights."""
        return set_first_weights(head, self.encoder)


class Features(Protocol):
    """Features of the training images, in their order."""

    @property
    def values(self) -> Tensor:
        """(N, D) float32."""

    @property
    def indices(self) -> Tensor:
        """(N,) int64: the images' numbers in the training set; unreadable images are missing."""


class Method(nn.Module):
    """What is learned. The loop knows nothing else of a method.

    A step calls `terms` with each micro-batch, `forward` and a backward pass for each term, the optimizer, and
    `after_step`. Everything that a method remembers is a parameter or a buffer, so that checkpoints hold it.
    """

    encoder: nn.Module
    """What is exported and evaluated: images (N, C, H, W) -> features (N, D)."""
    projector: nn.Module
    """From features to the vectors that health measures look at; the identity where there are none."""

    forward: Callable[..., Tensor]
    """From the tensors of one term to its loss: the mean over the batch, a scalar."""

    needs: ClassVar[frozenset[Need]] = frozenset()
    """What a batch must carry besides views."""
    views_agree: ClassVar[bool] = True
    """Whether views of one image are to be represented alike. Where not, health measures tell collapse only."""
    advice: ClassVar[tuple[str, ...]] = ()
    """What to try when a run collapses, in the imperative."""
    capturable: ClassVar[bool] = True
    """Whether a step does the same operations on the same memory every time, as a CUDA graph needs."""
    shared_batch_norm: bool = True
    """Whether batch norm sees the batch of all processes."""
    lr_factors: Mapping[str, float] = {}
    """Factors on the learning rate, by the name of a child module; 1 for those that are not named."""

    @classmethod
    def views(cls, config: PretrainConfig) -> tuple[ViewSpec, ...]:
        """The views of an image that a batch has; by default T and T' of the paper."""
        size = config.image_size
        return ViewSpec(config.augment.view1, size), ViewSpec(config.augment.view2, size)

    @classmethod
    def draws(cls, config: PretrainConfig) -> int:
        """Random numbers that a batch carries for each image, where the method needs "draws"; uniform in [0, 1).

        Use them for what a method draws itself, such as tiles or permutations: they are a function of the seed, the
        step and the image's place in the batch, so that resume and any number of processes draw the same.
        """
        return 0

    @classmethod
    def check(cls, config: PretrainConfig, data: TrainingSet) -> None:
        """Refuse what can be known to be wrong before anything is built.

        Raises:
            UserError: in one sentence.
        """

    @classmethod
    def build(cls, config: Any, ingredients: Ingredients) -> Self:
        """The method with weights just drawn; `config` is the method's own section of the settings."""
        raise NotImplementedError

    def terms(self, batch: Batch) -> Sequence[tuple[Tensor, ...]]:
        """Arguments of `forward` whose losses add up to that of the batch, back-propagated one by one.

        By default the whole batch is one term: its views, then its labels, index and draws where they are needed.
        """
        return [batch.tensors()]

    def scheduled(self, progress: Progress) -> dict[str, float]:
        """Hyperparameters that change from step to step, such as tau; logged, and given to `after_step`."""
        return {}

    def before_training(self, features: Callable[[], Features]) -> None:
        """What precedes the first update, such as a first clustering; `features()` computes those of first weights.

        It is not called again where a run goes on.
        """

    def after_step(self, scheduled: Mapping[str, float | Tensor]) -> None:
        """What follows the optimizer's step, such as a moving average; numbers are those of `scheduled`."""

    def after_epoch(self, features: Callable[[], Features]) -> None:
        """What follows a pass over the images, such as clustering; `features()` computes them when it is called."""
