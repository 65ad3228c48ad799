"""Recipes: functions that return a config, with the source of every number beside it.

A command is a recipe plus what the user gives.
"""

from collections.abc import Callable
from dataclasses import dataclass

from byol.config.encoder import EncoderSpec
from byol.config.methods import BYOLConfig, SimCLRConfig
from byol.config.optim import OptimConfig
from byol.config.run import PretrainConfig
from byol.config.values import replace
from byol.errors import UserError, nearest
from byol.recipes.auto import auto
from byol.recipes.facts import Facts
from byol.recipes.plan import Plan
from byol.recipes.small import small_on_cpu, small_views
from byol.runtime.program import program


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A named starting point."""

    make: Callable[[Facts], Plan]
    what: str
    source: str
    cost: str
    expected: str


def official(epochs: float, lr: float, weight_decay: float, tau: float) -> PretrainConfig:
    """ResNet-50 on ImageNet at batch 4096: the paper's networks, augmentation and optimizer (Section 3)."""
    return PretrainConfig(
        encoder=EncoderSpec(name="resnet50", init="official"),
        image_size=224,
        batch_size=4096,
        epochs=epochs,
        method=BYOLConfig(tau=tau),
        optim=OptimConfig(lr=lr, weight_decay=weight_decay),
    )


def paper_1000(facts: Facts) -> Plan:
    """The main result (Section 3.3; configs/byol.py:21)."""
    return Plan(official(1000, lr=0.2, weight_decay=1.5e-6, tau=0.996))


def paper_300(facts: Facts) -> Plan:
    """The setting of every ablation (Section 5; configs/byol.py:21)."""
    return Plan(official(300, lr=0.3, weight_decay=1e-6, tau=0.99))


def paper_100(facts: Facts) -> Plan:
    """In the released code only (configs/byol.py:21)."""
    return Plan(official(100, lr=0.45, weight_decay=1e-6, tau=0.99))


def paper_40(facts: Facts) -> Plan:
    """In the released code only (configs/byol.py:21)."""
    return Plan(official(40, lr=0.45, weight_decay=1e-6, tau=0.97))


def paper_batch_512(facts: Facts) -> Plan:
    """For 8 GPUs of 64 images each: batch 512 (Appendix G)."""
    return Plan(replace(official(1000, lr=0.4, weight_decay=1.5e-6, tau=0.9995), batch_size=512))


def small_on_gpu(epochs: float) -> PretrainConfig:
    """ResNet-18 with the small stem for CIFAR-10 on one GPU."""
    return PretrainConfig(
        encoder=EncoderSpec(name="resnet18", stem="small"),
        image_size=32,
        batch_size=512,
        epochs=epochs,
        method=BYOLConfig(hidden=2048, tau=0.99),
        optim=OptimConfig(name="sgd", lr=0.12, weight_decay=5e-4),  # lightly's CIFAR-10 setting: 0.06 per 128
        augment=small_views(),
    )


def cifar10(facts: Facts) -> Plan:
    """CIFAR-10 on one GPU: ResNet-18 with the small stem, 200 epochs."""
    return Plan(small_on_gpu(epochs=200))


def cifar10_cpu(facts: Facts) -> Plan:
    """CIFAR-10 on two cores in about 20 minutes; every number chosen on held-out training images."""
    return Plan(small_on_cpu(epochs=26))


def cifar10_cpu_simclr(facts: Facts) -> Plan:
    """CIFAR-10 on two cores by the objective that teaches most in twenty minutes, on held-out training images."""
    contrast = SimCLRConfig(hidden=1024, output=128)
    return Plan(replace(small_on_cpu(epochs=29), method=contrast, augment=small_views()))


def photos(facts: Facts) -> Plan:
    """The demo: patches of the embedded photographs, two minutes on two cores."""
    return Plan(replace(small_on_cpu(epochs=15), logging__health_every=100))


RECIPES: dict[str, Recipe] = {
    "auto": Recipe(
        make=auto,
        what="looks at the images, the machine and the budget, and explains each choice",
        source="the recipes below, interpolated",
        cost="30 minutes on a processor, unless told otherwise",
        expected="depends on the images; the verdict tells",
    ),
    "paper-1000": Recipe(
        make=paper_1000,
        what="the paper's main result: ResNet-50, ImageNet, batch 4096",
        source="Section 3.3; configs/byol.py:21",
        cost="8 hours on 512 TPU v3 cores (Section 3.3)",
        expected="74.3 % top-1, linear (Table 1)",
    ),
    "paper-300": Recipe(
        make=paper_300,
        what="the setting of the paper's ablations",
        source="Section 5; configs/byol.py:21",
        cost="a third of paper-1000",
        expected="72.5 % top-1, linear (Table 5a)",
    ),
    "paper-100": Recipe(
        make=paper_100,
        what="the released code's preset for 100 epochs",
        source="configs/byol.py:21",
        cost="a tenth of paper-1000",
        expected="not published",
    ),
    "paper-40": Recipe(
        make=paper_40,
        what="the released code's preset for 40 epochs",
        source="configs/byol.py:21",
        cost="a twenty-fifth of paper-1000",
        expected="about 62 % top-1, linear (deepmind-research issue 76)",
    ),
    "paper-batch-512": Recipe(
        make=paper_batch_512,
        what="the paper's recipe for batch 512",
        source="Appendix G",
        cost="4 days on 64 TPU v3 cores (Appendix G)",
        expected="73.7 % top-1, linear (Appendix G)",
    ),
    "cifar10": Recipe(
        make=cifar10,
        what="ResNet-18 with the small stem at 32 px, 200 epochs",
        source="SGD as lightly's CIFAR-10 benchmark; views as SimCLR's on CIFAR-10",
        cost="an hour on one GPU (an estimate, not yet measured)",
        expected="0.87 20-NN is what lightly publishes for 200 epochs; ours is not yet measured",
    ),
    "cifar10-cpu": Recipe(
        make=cifar10_cpu,
        what="a narrow ResNet-10 at 32 px, for two cores",
        source="chosen on held-out training images (docs/recipes.md)",
        cost="about 20 minutes on two cores",
        expected="see docs/results.md",
    ),
    "cifar10-cpu-simclr": Recipe(
        make=cifar10_cpu_simclr,
        what="the same network by SimCLR, which teaches more in twenty minutes",
        source="chosen on held-out training images (docs/recipes.md)",
        cost="about 20 minutes on two cores",
        expected="see docs/results.md",
    ),
    "photos": Recipe(
        make=photos,
        what="the demo: patches of photographs that ship with scikit-image and scikit-learn",
        source="as cifar10-cpu",
        cost="two minutes on two cores",
        expected="see docs/results.md",
    ),
}


def recipe_named(name: str) -> Recipe:
    """A recipe by its name.

    Raises:
        UserError: there is none of that name.
    """
    if name not in RECIPES:
        raise UserError(f"There is no recipe {name!r}.{nearest(name, RECIPES)} See: {program()} recipes.")
    return RECIPES[name]
