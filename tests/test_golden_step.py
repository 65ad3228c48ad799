"""Three complete updates: our method, LARS, schedules and target update against the official experiment class.

The official code also trains a linear classifier on the stopped features of view 1, with the same optimizer and the
same moving average, and its target network carries a predictor that nothing reads. `OfficialLearner` adds these two to
our method, so that every parameter of the official update has its counterpart.
"""

import copy
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import golden_names as golden
from byol.methods.byol import BYOL
from byol.optim.lars import LARS, parameter_groups
from byol.optim.schedules import learning_rate, tau
from golden_networks import HaikuBatchNorm, load_parameters, normalize_images, official_encoder, official_heads

ARRAYS = golden.load("step")
CONFIG = golden.settings(ARRAYS, "config_json")
STEPS = int(ARRAYS["num_steps"])
# Both feed a batch norm: their true gradient is 0 and what moves them is rounding.
NO_TRUE_GRADIENT = ("projector.0.bias", "predictor.0.bias")
DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])


@dataclass
class Losses:
    repr_loss: Tensor
    classif_loss: Tensor

    @property
    def loss(self) -> Tensor:
        return self.repr_loss + self.classif_loss


class OfficialLearner(nn.Module):
    """Our BYOL, with what the official update has besides it."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        config = CONFIG["network_config"]
        encoder = official_encoder({"cls": config["encoder_class"], **config["encoder_config"]})
        heads = official_heads(
            int(encoder.num_features),
            config["projector_hidden_size"],
            config["projector_output_size"],
            config["predictor_hidden_size"],
        )
        self.method = BYOL(encoder, heads["projector"], heads["predictor"])
        self.classifier = nn.Linear(int(encoder.num_features), CONFIG["num_classes"])
        self.target_classifier = copy.deepcopy(self.classifier).requires_grad_(False)
        self.target_predictor = copy.deepcopy(self.method.predictor).requires_grad_(False)
        self.to(dtype)
        self.embeddings: list[Tensor] = []
        self.method.encoder.register_forward_hook(lambda _module, _input, output: self.embeddings.append(output))
        load_parameters(self.online(), golden.parameters(ARRAYS, "initial/online_params", dtype))
        load_parameters(self.target(), golden.parameters(ARRAYS, "initial/target_params", dtype))

    def online(self) -> nn.ModuleDict:
        """The online network under the official division into parts."""
        m = self.method
        parts = {"encoder": m.encoder, "projector": m.projector, "predictor": m.predictor}
        return nn.ModuleDict({**parts, "classifier": self.classifier})

    def target(self) -> nn.ModuleDict:
        m = self.method
        parts = {"encoder": m.target_encoder, "projector": m.target_projector, "predictor": self.target_predictor}
        return nn.ModuleDict({**parts, "classifier": self.target_classifier})

    def forward(self, view1: Tensor, view2: Tensor, labels: Tensor) -> Losses:
        self.embeddings.clear()
        repr_loss = self.method(view1, view2)
        first, _second = self.embeddings  # one pass per view, view 1 first
        return Losses(repr_loss, F.cross_entropy(self.classifier(first.detach()), labels))

    @torch.no_grad()
    def update_target(self, tau: float) -> None:
        self.method.update_target(tau)
        for target, online in (
            (self.target_classifier, self.classifier),
            (self.target_predictor, self.method.predictor),
        ):
            for old, new in zip(target.parameters(), online.parameters(), strict=True):
                old.add_((1 - tau) * (new - old))


@dataclass
class Update:
    """What one step leaves behind, by our parameter names."""

    losses: Losses
    learning_rate: float
    tau: float
    gradients: dict[str, Tensor]
    online: dict[str, Tensor]
    target: dict[str, Tensor]
    momentum: dict[str, Tensor]
    online_state: dict[str, dict[str, Tensor]]
    target_state: dict[str, dict[str, Tensor]]


def official_rate(step: int) -> float:
    config = CONFIG["lr_schedule_config"]
    return learning_rate(
        step,
        peak=config["base_learning_rate"] * CONFIG["batch_size"] / 256,
        warmup_steps=config["warmup_steps"],
        total_steps=CONFIG["max_steps"],
    )


def snapshot(network: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in network.named_parameters()}


def batch_norm_snapshot(network: nn.Module) -> dict[str, dict[str, Tensor]]:
    return {
        name: {"counter": torch.tensor(norm.counter), **{key: value.clone() for key, value in norm.named_buffers()}}
        for name, norm in network.named_modules()
        if isinstance(norm, HaikuBatchNorm)
    }


def views_of(step: int, dtype: torch.dtype) -> list[Tensor]:
    return [normalize_images(golden.images(ARRAYS[f"step{step}/view{i}"], dtype)) for i in (1, 2)]


def run_updates(dtype: torch.dtype, stored_rate: bool = False) -> tuple[OfficialLearner, list[Update]]:
    """The three updates; with `stored_rate` at the official rate, which is float32 even in double precision."""
    learner = OfficialLearner(dtype)
    online, target = learner.online(), learner.target()
    config = CONFIG["optimizer_config"]
    optimizer = LARS(
        parameter_groups(online, weight_decay=config["weight_decay"]),
        lr=0.0,
        momentum=config["momentum"],
        trust=config["eta"],
    )
    updates = []
    for i, step in enumerate(int(s) for s in ARRAYS["global_steps"]):
        rate = float(ARRAYS[f"float64/step{i}/learning_rate"]) if stored_rate else official_rate(step)
        share = tau(step, base=CONFIG["base_target_ema"], total_steps=CONFIG["max_steps"])
        for group in optimizer.param_groups:
            group["lr"] = rate
        losses = learner(*views_of(i, dtype), torch.from_numpy(ARRAYS[f"step{i}/labels"]).long())
        optimizer.zero_grad()
        losses.loss.backward()
        gradients = {name: p.grad.clone() for name, p in online.named_parameters() if p.grad is not None}
        optimizer.step()
        learner.update_target(share)
        updates.append(
            Update(
                losses,
                rate,
                share,
                gradients,
                snapshot(online),
                snapshot(target),
                {name: optimizer.state[p]["momentum"].clone() for name, p in online.named_parameters()},
                batch_norm_snapshot(online),
                batch_norm_snapshot(target),
            )
        )
    return learner, updates


def assert_moved_alike(
    ours: dict[str, Tensor], official: dict[str, Tensor], initial: dict[str, Tensor], part: float, rounding: float
) -> None:
    """Each tensor is within `part` of the way that it has gone; `rounding` bounds the two biases that go nowhere."""
    assert ours.keys() == official.keys()
    for name, value in ours.items():
        expected = official[name].to(value.dtype)
        if name in NO_TRUE_GRADIENT:
            golden.assert_close(value, golden.as_numpy(expected), rounding, name)
            continue
        off, way = (value - expected).norm().item(), (expected - initial[name]).norm().item()
        assert off <= part * way + 1e-8, f"{name}: off by {off:.3g} after a way of {way:.3g}"


def test_losses_and_parameters_in_double_precision() -> None:
    _, updates = run_updates(torch.float64)
    for i, update in enumerate(updates):
        official = golden.section(ARRAYS, f"float64/step{i}")
        tolerance = 1e-9 if i == 0 else 1e-7  # the official rate is rounded to float32
        golden.assert_close(update.losses.repr_loss, official["repr_loss"], tolerance, f"step {i}")
        golden.assert_close(update.losses.classif_loss, official["classif_loss"], tolerance, f"step {i}")
        golden.assert_close(update.losses.loss, official["loss"], tolerance, f"step {i}")
        assert update.tau == pytest.approx(float(official["tau"]), abs=1e-12)
    initial = golden.parameters(ARRAYS, "initial/online_params", torch.float64)
    official = golden.parameters(ARRAYS, "float64/step2/online_params", torch.float64)
    assert_moved_alike(updates[2].online, official, initial, 1e-6, 1e-9)


def test_losses_in_double_precision_at_the_stored_rate() -> None:
    _, updates = run_updates(torch.float64, stored_rate=True)
    for i, update in enumerate(updates):
        official = golden.section(ARRAYS, f"float64/step{i}")
        golden.assert_close(update.losses.repr_loss, official["repr_loss"], 1e-9, f"step {i}")
        golden.assert_close(update.losses.classif_loss, official["classif_loss"], 1e-9, f"step {i}")


@DTYPES
def test_updates(dtype: torch.dtype) -> None:
    """Both of our precisions stay within the rounding allowed to float32."""
    _, updates = run_updates(dtype)
    initial = {kind: golden.parameters(ARRAYS, f"initial/{kind}_params", dtype) for kind in ("online", "target")}
    for i, update in enumerate(updates):
        official = golden.section(ARRAYS, f"step{i}")
        for key in ("repr_loss", "classif_loss", "loss"):
            golden.assert_close(getattr(update.losses, key), official[key], 1e-4, f"step {i}, {key}")
        assert update.learning_rate == pytest.approx(float(official["learning_rate"]), abs=1e-6)
        assert update.tau == pytest.approx(float(official["tau"]), abs=5e-7)
        for kind in ("online", "target"):
            expected = golden.parameters(official, f"{kind}_params", dtype)
            assert_moved_alike(getattr(update, kind), expected, initial[kind], 1e-3, 1e-6)
        momentum = golden.parameters(official, "momentum", dtype)
        nothing = {name: torch.zeros_like(value) for name, value in momentum.items()}
        assert_moved_alike(update.momentum, momentum, nothing, 1e-3, 1e-6)


def test_target_starts_from_its_own_weights() -> None:
    online, target = (golden.parameters(ARRAYS, f"initial/{kind}_params") for kind in ("online", "target"))
    assert not torch.equal(online["encoder.conv1.weight"], target["encoder.conv1.weight"])


@DTYPES
def test_gradients_of_the_first_step(dtype: torch.dtype) -> None:
    _, updates = run_updates(dtype)
    official = golden.parameters(ARRAYS, "step0/grads", dtype)
    nothing = {name: torch.zeros_like(value) for name, value in official.items()}
    assert_moved_alike(updates[0].gradients, official, nothing, 1e-3, 1e-6)


@DTYPES
def test_batch_norm_states(dtype: torch.dtype) -> None:
    """Two updates per step, view 1 first, and a target with statistics of its own."""
    _, updates = run_updates(dtype)
    for i, update in enumerate(updates):
        for kind, states in (("online", update.online_state), ("target", update.target_state)):
            for name, official in golden.batch_norm_states(ARRAYS, f"step{i}/{kind}_state"):
                if kind == "target" and name.startswith("predictor"):
                    continue  # nothing reads the target's predictions, and ours makes none
                assert states[name]["counter"] == official["mean_counter"] == 2 * (i + 1)
                for key in ("mean_hidden", "mean_average", "var_hidden", "var_average"):
                    what = f"step {i}, {kind} {name} {key}"
                    golden.assert_close_relative(states[name][key], official[key], 1e-4, what)


def test_exclusion_rule() -> None:
    online = OfficialLearner(torch.float32).online()
    names = {parameter: name for name, parameter in online.named_parameters()}
    groups = parameter_groups(online, weight_decay=1e-3)
    ours = {names[p] for group in groups if not group["adapt"] for p in group["params"]}
    flags = zip(ARRAYS["parameter_names"], ARRAYS["parameter_is_excluded"], strict=True)
    assert ours == {golden.parameter_name(str(name)) for name, excluded in flags if excluded}


def test_evaluation_after_the_last_step() -> None:
    learner, _ = run_updates(torch.float32)
    learner.eval()
    view, _ = views_of(0, torch.float32)
    with torch.no_grad():
        embedding = learner.method.encoder(view)
        projection = learner.method.projector(embedding)
        ours = {
            "logits": learner.classifier(embedding),
            "projection": projection,
            "prediction": learner.method.predictor(projection),
        }
    for key, value in ours.items():
        golden.assert_close_relative(value, ARRAYS[f"final_eval/{key}"], 1e-3, key)
    labels = torch.from_numpy(ARRAYS["step0/labels"]).long()
    loss = F.cross_entropy(ours["logits"], labels, reduction="none")
    golden.assert_close(loss, ARRAYS["final_eval/eval_loss"], 1e-3)


@pytest.mark.parametrize("step", range(STEPS))
def test_target_is_the_moving_average(step: int) -> None:
    """The stored weights themselves, through our update alone: no error of an earlier step is carried on."""
    learner = OfficialLearner(torch.float64)
    before = f"step{step - 1}" if step else "initial"
    load_parameters(learner.target(), golden.parameters(ARRAYS, f"{before}/target_params", torch.float64))
    load_parameters(learner.online(), golden.parameters(ARRAYS, f"step{step}/online_params", torch.float64))
    share = tau(int(ARRAYS["global_steps"][step]), base=CONFIG["base_target_ema"], total_steps=CONFIG["max_steps"])
    learner.update_target(share)
    official = golden.parameters(ARRAYS, f"step{step}/target_params")
    for name, value in snapshot(learner.target()).items():
        golden.assert_close_relative(value, golden.as_numpy(official[name]), 5e-7, name)
