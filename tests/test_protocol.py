"""The protocol of a method: what a batch carries, what a step calls, and what every method in the table keeps to."""

import copy
import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import pytest
import torch
from torch import Tensor, nn

from building import build, make_loader
from byol.config.methods import BYOLConfig, MethodConfig, MultiCropConfig
from byol.config.run import PretrainConfig
from byol.config.values import replace
from byol.config.views import ViewConfig, ViewSpec
from byol.data.batch import Batch
from byol.data.order import EpochOrder
from byol.data.sources.open import TensorSource
from byol.encoders.build import feature_count
from byol.methods.base import Ingredients, Method, Need, Progress
from byol.methods.table import METHODS, method_class
from byol.pretraining.train import TrainStep
from byol.runtime.seeds import generator_of
from conftest import TINY

HEADS = {"method__hidden": 32, "method__output": 16}
CONFIG = replace(PretrainConfig(), **{**TINY, **HEADS, "optim__name": "lars", "seed": 5})
COUNT = 64


def numbered() -> TensorSource:
    """Images whose every value is their number, with 7 minus three times the number, modulo 5, for a label."""
    images = torch.arange(COUNT, dtype=torch.uint8).view(-1, 1, 1, 1).expand(COUNT, 3, 20, 24).contiguous()
    return TensorSource(images, [(7 - 3 * number) % 5 for number in range(COUNT)])


@pytest.mark.parametrize(
    "needs", [(), ("labels",), ("index",), ("labels", "index"), ("draws",), ("labels", "index", "draws")], ids=str
)
def test_a_batch_is_made_of_its_tensors_again(needs: tuple[Need, ...]) -> None:
    views = (torch.randn(4, 3, 6, 6), torch.randn(4, 3, 6, 6), torch.randn(4, 3, 2, 2))
    extras = {"labels": torch.tensor([3, 1, 0, 2]), "index": torch.tensor([50, 8, 9, 7])}
    extras["draws"] = torch.tensor([[0.5, 0.25], [0.0, 0.75], [0.125, 0.5], [0.25, 0.5]])
    batch = Batch(views, **{name: extras[name] for name in needs})
    tensors = batch.tensors()
    assert len(tensors) == 3 + len(needs)
    assert all(view.is_contiguous(memory_format=torch.channels_last) for view in tensors[:3])
    again = Batch.of(tensors, frozenset(needs))
    assert len(again.views) == 3
    assert all(torch.equal(one, other) for one, other in zip(again.views, views, strict=True))
    for name, value in extras.items():
        found = getattr(again, name)
        assert torch.equal(found, value) if name in needs else found is None, name
    assert again.augmented() is again


def test_a_batch_is_one_term_unless_a_method_says_otherwise() -> None:
    labels, index = torch.tensor([1, 0]), torch.tensor([4, 9])
    views = (torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4))
    (term,) = Method().terms(Batch(views, labels, index))
    assert len(term) == 4
    assert all(torch.equal(one, other) for one, other in zip(term, (*views, labels, index), strict=True))
    assert Method().scheduled(Progress(3, 9)) == {}


def test_learning_rate_factors_reach_the_groups_and_the_rates_of_a_step() -> None:
    config = replace(CONFIG, method__projector_lr=0.5, method__predictor_lr=3.0)
    state = build(config)
    wanted = {"encoder": 1.0, "projector": 0.5, "predictor": 3.0}
    names = {id(p): name.partition(".")[0] for name, p in state.method.named_parameters() if p.requires_grad}
    found = {id(p): group["rate"] for group in state.optimizer.param_groups for p in group["params"]}
    assert found == {key: wanted[part] for key, part in names.items()}
    (batches,) = make_loader(numbered(), config).batches(0, 1)
    TrainStep(state, config)(batches, 0.2, {"tau": 1.0})
    for group in state.optimizer.param_groups:
        assert group["lr"] == pytest.approx(0.2 * group["rate"], rel=1e-12)


def test_byol_moves_its_target_after_a_step_by_the_schedule() -> None:
    """Eq. 1, with tau = 1 - (1 - base) (cos(pi k / K) + 1) / 2."""
    method = build(replace(CONFIG, method__tau=0.8, method__start="apart")).method
    scheduled = method.scheduled(Progress(30, 120))
    tau = 1 - 0.2 * (math.cos(math.pi / 4) + 1) / 2
    assert scheduled == {"tau": pytest.approx(tau, rel=1e-12)}
    online = [*method.encoder.parameters(), *method.projector.parameters()]
    target = [*method.target_encoder.parameters(), *method.target_projector.parameters()]
    before = [p.clone() for p in target]
    method.after_step(scheduled)
    for new, old, source in zip(target, before, online, strict=True):
        torch.testing.assert_close(new, tau * old + (1 - tau) * source)
    constant = build(replace(CONFIG, method__tau=0.8, method__constant_tau=True)).method
    assert constant.scheduled(Progress(30, 120)) == {"tau": 0.8}


@dataclass(frozen=True, kw_only=True)
class ThreeViewsConfig(MethodConfig):
    """The settings of `ThreeViews`: none."""

    name: ClassVar[str] = "three-views"


PLAIN = ViewConfig(area=(0.3, 0.9), flip=0.0, jitter=0.0, gray=0.0, blur=0.0, solarize=0.0)
"""A crop alone: of an image of one value it is that value."""


class ThreeViews(Method):
    """Tells the label of an image from two views, and its number from a third, smaller one."""

    needs = frozenset({"labels", "index"})

    def __init__(self, encoder: nn.Module, classes: int, images: int) -> None:
        super().__init__()
        self.encoder, self.projector = encoder, nn.Identity()
        self.classifier = nn.Linear(feature_count(encoder), classes)
        self.numbers = nn.Linear(feature_count(encoder), images)
        self.lr_factors = {"numbers": 0.5}
        self.seen: list[Batch] = []
        self.scheduled_at: list[float] = []

    @classmethod
    def views(cls, config: PretrainConfig) -> tuple[ViewSpec, ...]:
        return tuple(ViewSpec(PLAIN, size) for size in (config.image_size, config.image_size, config.image_size // 2))

    @classmethod
    def build(cls, config: ThreeViewsConfig, ingredients: Ingredients) -> Self:
        assert ingredients.view_sizes == (16, 16, 8)
        assert ingredients.data.classes is not None
        return cls(ingredients.make_encoder(), ingredients.data.classes, ingredients.data.images)

    def terms(self, batch: Batch) -> list[tuple[Tensor, ...]]:
        assert batch.labels is not None
        assert batch.index is not None
        self.seen.append(batch)
        large, other, small = batch.views
        return [(large, batch.labels), (other, batch.labels), (small, batch.labels, batch.index)]

    def forward(self, view: Tensor, labels: Tensor, index: Tensor | None = None) -> Tensor:
        head, goal = (self.classifier, labels) if index is None else (self.numbers, index)
        return nn.functional.cross_entropy(head(self.encoder(view)), goal)

    def scheduled(self, progress: Progress) -> dict[str, float]:
        return {"share": progress.step / progress.total}

    def after_step(self, scheduled: Mapping[str, float | Tensor]) -> None:
        self.scheduled_at.append(float(scheduled["share"]))


@dataclass(frozen=True, kw_only=True)
class DrawingConfig(MethodConfig):
    """The settings of `Drawing`: none."""

    name: ClassVar[str] = "drawing"


class Drawing(ThreeViews):
    """Asks for three numbers of its own for each image."""

    needs = frozenset({"index", "draws"})

    @classmethod
    def draws(cls, config: PretrainConfig) -> int:
        return 3


@pytest.mark.parametrize("decoded", [True, False])
def test_draws_are_a_function_of_seed_step_and_place_in_any_process_and_part(
    decoded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METHODS, DrawingConfig, Drawing)
    config, source = dataclasses.replace(CONFIG, method=DrawingConfig()), numbered()

    def drawn(config: PretrainConfig, first: int, **options: int) -> list[Tensor]:
        images = source.images if decoded else None
        ((*batches,),) = make_loader(source, config, decoded=images, **options).batches(first, first + 1)
        found = [batch.augmented().draws for batch in batches]
        assert all(one is not None for one in found)
        return [one for one in found if one is not None]

    (whole,) = drawn(config, 1)
    expected = torch.rand(16, 3, generator=generator_of(5, "draws", 1))
    assert torch.equal(whole, expected)
    halves = [drawn(config, 1, rank=rank, world_size=2)[0] for rank in range(2)]
    assert torch.equal(torch.cat(halves), whole)
    assert torch.equal(torch.cat(drawn(replace(config, optim__accumulate=4), 1)), whole)
    assert not torch.equal(drawn(config, 2)[0], whole)


@pytest.fixture
def _three_views() -> Iterator[None]:
    METHODS[ThreeViewsConfig] = ThreeViews
    yield
    del METHODS[ThreeViewsConfig]


@pytest.mark.usefixtures("_three_views")
@pytest.mark.parametrize("decoded", [True, False])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_new_method_trains_on_the_views_labels_and_numbers_that_it_asks_for(decoded: bool, accumulate: int) -> None:
    config = dataclasses.replace(replace(CONFIG, optim__accumulate=accumulate), method=ThreeViewsConfig())
    source, normalization = numbered(), CONFIG.encoder.normalization
    state = build(config, classes=5)
    method = state.method
    assert isinstance(method, ThreeViews)
    loader = make_loader(source, config, decoded=source.images if decoded else None)
    train_step, order = TrainStep(state, config), EpochOrder(COUNT, config.seed)
    for step, batches in enumerate(loader.batches(0, 2)):
        before = [p.clone() for p in method.parameters()]
        method.seen.clear()
        loss, norm = train_step(batches, 0.5, method.scheduled(Progress(step, 4)))
        assert math.isfinite(loss)
        assert norm > 0
        assert not any(torch.equal(p, old) for p, old in zip(method.parameters(), before, strict=True) if p.ndim > 1)
        assert len(method.seen) == accumulate
        share = config.batch_size // accumulate
        for batch in method.seen:
            assert [tuple(view.shape) for view in batch.views] == [(share, 3, s, s) for s in (16, 16, 8)]
            assert batch.index is not None
            value = batch.index.view(-1, 1, 1).float() / 255  # row i of every view is the same image
            for channel, (mean, std) in enumerate(zip(normalization.mean, normalization.std, strict=True)):
                for view in batch.views:
                    wanted = ((value - mean) / std).expand_as(view[:, channel])
                    torch.testing.assert_close(view[:, channel], wanted, atol=1e-4, rtol=0)
        index = torch.cat([batch.index for batch in method.seen if batch.index is not None])
        labels = torch.cat([batch.labels for batch in method.seen if batch.labels is not None])
        assert torch.equal(index, order.indices(step, config.batch_size))
        assert source.labels is not None
        assert labels.tolist() == [source.labels[number] for number in index.tolist()]
    assert state.step == 2
    assert method.scheduled_at == [0.0, 0.25]
    assert {group["rate"] for group in state.optimizer.param_groups} == {1.0, 0.5}


@pytest.mark.parametrize("clip", [None, 0.01, 1e6])
def test_the_gradient_norm_is_that_of_all_gradients_and_clipping_bounds_it(clip: float | None) -> None:
    config = replace(CONFIG, optim__name="sgd", optim__momentum=0.0, optim__weight_decay=0.0, optim__clip=clip)
    state = build(config)
    train_step = TrainStep(state, config)
    ((batch,),) = make_loader(numbered(), config).batches(0, 1)
    train_step.forward_backward(*batch.augmented().tensors())
    weights = {name: p for name, p in state.method.named_parameters() if p.grad is not None}
    gradients = {name: p.grad.clone() for name, p in weights.items() if p.grad is not None}
    before = {name: p.detach().clone() for name, p in weights.items()}
    whole = torch.cat([gradient.flatten() for gradient in gradients.values()]).norm()
    norm = train_step.optimizer_step(1.0, 1.0, 1.0)
    torch.testing.assert_close(norm, whole, rtol=1e-5, atol=0)
    assert whole > 0.02
    factor = 1.0 if clip is None or clip > whole else clip / whole.item()
    for name, p in weights.items():
        torch.testing.assert_close(p.detach(), before[name] - factor * gradients[name], rtol=1e-4, atol=1e-6, msg=name)
    moved = torch.cat([(p.detach() - before[name]).flatten() for name, p in weights.items()]).norm()
    assert moved.item() == pytest.approx(whole.item() if factor == 1 else clip, rel=1e-3)
    assert all(p.grad is None for p in state.method.parameters())


def small(kind: type[MethodConfig]) -> PretrainConfig:
    """A run by a method's default settings, apart from the width of its heads."""
    fields = {field.name for field in dataclasses.fields(kind)}
    narrow = {
        name: size
        for name, size in (("hidden", 32), ("output", 16), ("predictor_hidden", 8), ("width", 64), ("permutations", 9))
        if name in fields
    }
    return dataclasses.replace(CONFIG, method=kind(**narrow))


KINDS = pytest.mark.parametrize("kind", METHODS, ids=lambda kind: kind.name)


@KINDS
def test_every_method_is_built_from_its_defaults_and_makes_a_step(kind: type[MethodConfig]) -> None:
    config = small(kind)
    assert method_class(config.method) is METHODS[kind]
    state = build(config, classes=5)
    assert type(state.method) is METHODS[kind]
    names = {name.partition(".")[0] for name, _ in state.method.named_parameters()}
    assert set(state.method.lr_factors) <= names, "a factor for a network that is not there"
    before = {name: p.detach().clone() for name, p in state.method.encoder.named_parameters()}
    (batches,) = make_loader(numbered(), config).batches(0, 1)
    loss, norm = TrainStep(state, config)(batches, 0.1, state.method.scheduled(Progress(0, 10)))
    assert math.isfinite(loss)
    assert 0 < norm < math.inf
    assert all(torch.isfinite(value).all() for value in state.method.state_dict().values())
    assert any(not torch.equal(p, before[name]) for name, p in state.method.encoder.named_parameters())
    assert state.step == 1


@KINDS
def test_the_losses_of_a_methods_terms_add_up_to_that_of_the_batch(kind: type[MethodConfig]) -> None:
    if kind is MultiCropConfig:
        pytest.skip("its forward pass takes one term at a time")
    config = small(kind)
    method = build(config, classes=5).method.train()
    other = copy.deepcopy(method)
    ((batch,),) = make_loader(numbered(), config).batches(0, 1)
    ready = batch.augmented()
    torch.manual_seed(1)
    whole = method(*ready.tensors())
    torch.manual_seed(1)
    terms = other.terms(ready)
    assert len(terms) == (2 if kind is BYOLConfig else 1)
    torch.testing.assert_close(sum(other(*term) for term in terms), whole, rtol=1e-6, atol=0)
