"""Which objective teaches most in a short run of two cores: on 45,000 training images, judged on 5,000 others of them.

    OMP_NUM_THREADS=1 python benchmarks/choose_objective.py byol simclr ...
    OMP_NUM_THREADS=1 python benchmarks/choose_objective.py --epochs 30 simclr vicreg-lr-0.004

Each variant is the recipe cifar10-cpu with another objective, a whole schedule of its own length. Notes the 20-NN
accuracy on the 5,000 (the other 45,000 vote) and the processor time of training. The test part is never looked at.
One seed: a guide, not a proof.
"""

from typing import Any

from byol.config.methods import MultiCropConfig, SimCLRConfig, VICRegConfig
from byol.config.values import replace
from byol.recipes.small import small_on_cpu, small_views
from choose_cifar10_cpu import asked, run, training_parts
from results_file import Row, show, write

VICREG = {"method": VICRegConfig(hidden=1024, output=1024)}
FULL_COLOR = {"augment": small_views()}
SMALLER_CROPS = {f"augment__{view}__area": (0.1, 1.0) for view in ("view1", "view2")}
TWO_MORE_VIEWS = MultiCropConfig(hidden=1024, output=128, tau=0.97, predictor_lr=10.0, local_views=2)
VARIANTS: dict[str, dict[str, Any]] = {
    "byol": {},
    "multicrop": {"method": TWO_MORE_VIEWS},
    "vicreg": VICREG,
    "vicreg-full-color": {**VICREG, **FULL_COLOR},
    "vicreg-lr-0.004": {**VICREG, "optim__lr": 4e-3},
    "vicreg-batch-256": {**VICREG, "batch_size": 256},
    "vicreg-area-0.1": {**VICREG, **SMALLER_CROPS},
    "vicreg-decay-0.005": {**VICREG, "optim__weight_decay": 0.005},
    "vicreg-depth-2-output-256": {"method": VICRegConfig(hidden=1024, output=256, projector_depth=2)},
    "vicreg-output-2048": {"method": VICRegConfig(hidden=2048, output=2048)},
    "simclr-full-color": {"method": SimCLRConfig(hidden=1024, output=128), **FULL_COLOR},
}
"""By name: what is changed of the recipe cifar10-cpu."""


def main() -> None:
    """Run variants by name; without one, all."""
    options = asked(__doc__, VARIANTS)
    parts = training_parts()
    for name in options.variants or list(VARIANTS):
        start = replace(small_on_cpu(options.epochs), precision="bf16")
        config = replace(start, **{**VARIANTS[name], "seed": options.seed})
        accuracy, seconds = run(config, *parts)
        about = {"method": config.method.name, "epochs": options.epochs, "seed": options.seed}
        group = f"{name}, {options.epochs:g} epochs"
        rows = [
            Row(group, "20-NN accuracy, held out", "accuracy", [accuracy], about),
            Row(group, "processor time", "s", [seconds], about),
        ]
        for row in rows:
            show(row)
        write("choose-objective", rows, options.out)


if __name__ == "__main__":
    main()
