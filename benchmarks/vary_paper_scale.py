"""What the small things of the scale `cpu` of `byol paper` do to the order of rows: one of them changed at a time.

    python benchmarks/vary_paper_scale.py scale optimizer color ...

Trained on the scale's images and judged on held-out training images, as in `choose_paper_scale.py`; the test part is
never looked at. The rows are those on which most of the paper's order hangs. One seed, one thread a cell; two calls may
run side by side.
"""

from typing import Any

from byol.recipes.small import small_views
from choose_paper_scale import train_all

VARIATIONS: dict[str, dict[str, Any]] = {
    "scale": {},
    "predictor": {"method__predictor_lr": 1.0},
    "color": {"augment": small_views()},
    "optimizer": {"optim__name": "sgd", "optim__lr": 0.12, "optim__weight_decay": 5e-4},
    "views": {"image_size": 32},
    "width": {"encoder__width": 1.0},
    "depth": {"encoder": "resnet18"},
    "stem": {"encoder__stem": "small"},
    "views-long": {"image_size": 32, "epochs": 40.0},
}
"""What is changed, and to what. SGD's numbers are those of the recipe cifar10; `views-long` asks whether larger views
want a longer run."""
ROWS = (
    ("targets", "tau-0.99"),
    ("batch-size", "simclr-4096"),
    ("targets", "tau-0"),
    ("targets", "tau-1"),
    ("heads", "projector-1-predictor-1"),
)


if __name__ == "__main__":
    train_all("vary-paper-scale", __doc__, VARIATIONS, ROWS)
