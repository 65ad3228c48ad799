"""The cells of the paper's tables, each table a function of the scale; `catalog.py` has titles and claims."""

from typing import Any

from byol.config.methods import BYOLConfig
from byol.paper.cells import Cell
from byol.paper.numbers import PaperNumber, number, paper_tables
from byol.paper.scales import Scale

MOCO_QUEUE = 4096
"""Largest queue of MoCo below the paper's scale. It must be smaller than the data set: otherwise it holds another key
of the same image, as a negative."""


def targets(scale: Scale) -> list[Cell]:
    """What the target is and how fast it moves (Table 5a), and tau = 0 with a faster predictor (Table 21)."""
    hard = {"method__tau": 0.0, "method__constant_tau": True}
    # the paper's predictor learns as fast as the rest; a scale with a faster one must not rescue this row
    rows: dict[float, dict[str, Any]] = {1: {}, 0.999: {}, 0.99: {}, 0.9: {}, 0: {**hard, "method__predictor_lr": 1.0}}
    at_zero = "5.5 in Tables 19 and 21, 3.2 ± 2.9 in Table 22"
    if isinstance(scale.config.method, BYOLConfig) and scale.config.method.predictor_lr != 1:
        at_zero += "; the predictor learns as fast as the rest, unlike in the scale's other rows"
    words: dict[float, str] = {1: "constant random network", 0: "stop-gradient of online"}
    cells = [
        Cell(
            name=f"tau-{tau:g}",
            row=f"tau {tau:g}: {words.get(tau, 'moving average of online')}",
            paper=number("ablation_target", tau_base=tau),
            changes={"method__tau": float(tau), **more},
            note=at_zero if tau == 0 else "",
        )
        for tau, more in rows.items()
    ]
    return cells + [
        Cell(
            name=f"tau-0-predictor-x{factor}",
            row=f"tau 0, predictor's rate x {factor}",
            paper=number("no_ema_predictor_lr", **{"lambda": factor}),
            changes={**hard, "method__predictor_lr": float(factor)},
            note="the predictor never learns" if factor == 0 else "",
        )
        for factor in (0, 2, 10, 20)
    ]


KINDS = {"xi": "ema", "sg(theta)": "stop-gradient", "theta": "online"}
"""Table 19's names of the target's parameters to values of `method.target`."""


def bridge(scale: Scale) -> list[Cell]:
    """Predictor x target x negatives (Tables 5b and 19), alpha 0.1; the row that Table 19 prints twice is one cell."""
    cells: dict[str, Cell] = {}
    for row in paper_tables()["infonce_bridge_full"]["rows"]:
        kind, beta = KINDS[row["target_parameters"]], float(row["beta"])
        parts = ("predictor" if row["predictor"] else "plain", kind, f"beta-{beta:g}")
        changes: dict[str, Any] = {"method": "infonce", "method__beta": beta, "method__temperature": 0.1}
        changes |= {} if kind == "ema" else {"method__target": kind}
        changes |= {} if row["predictor"] else {"method__predictor_depth": 0}
        if row["predictor"] and kind == "stop-gradient":  # as in Table 5a: a faster predictor would replace xi
            changes["method__predictor_lr"] = 1.0
        is_byol = row["method"] == "BYOL"
        keys = {name: row[name] for name in ("predictor", "target_parameters", "beta")}
        words = f"predictor {'yes' if row['predictor'] else 'no'}, target {kind}, beta {beta:g}"
        cells.setdefault(
            "-".join(parts),
            Cell(
                name="-".join(parts),
                row=f"{row['method']}: {words}" if row["method"] else words,
                paper=number("infonce_bridge_full", **keys),
                # at beta 0 with both, the gradient is BYOL's: the run of other tables serves here too
                changes={} if is_byol else changes,
            ),
        )
    return list(cells.values())


def temperature(scale: Scale) -> list[Cell]:
    """Weight of the negatives and temperature, with predictor and target network (Table 18)."""
    cells = []
    for row in paper_tables()["infonce_beta_temperature"]["rows"]:
        beta, alpha = float(row["beta"]), float(row["alpha"])
        changes = {"method": "infonce", "method__beta": beta, "method__temperature": alpha}
        cells.append(
            Cell(
                name=f"beta-{beta:g}-alpha-{alpha:g}" if beta else "byol",
                row=f"beta {beta:g}, alpha {alpha:g}" if beta else "beta 0 (BYOL)",
                paper=number("infonce_beta_temperature", beta=row["beta"], alpha=row["alpha"]),
                changes=changes if beta else {},
            )
        )
    return cells


def heads(scale: Scale) -> list[Cell]:
    """Linear layers of projector and predictor (Table 14a)."""
    return [
        Cell(
            name=f"projector-{projector}-predictor-{predictor}",
            row=f"projector {projector}, predictor {predictor}",
            paper=number("ablation_depth", projector_depth=projector, predictor_depth=predictor),
            changes={"method__projector_depth": projector, "method__predictor_depth": predictor},
        )
        for projector in (1, 2, 3)
        for predictor in (1, 2, 3)
    ]


def projection(scale: Scale) -> list[Cell]:
    """Size of projections and predictions (Table 14b), as printed."""
    return [
        Cell(
            name=f"{size}",
            row=f"{size}",
            paper=number("ablation_projection_dim", projection_dim=size),
            changes={"method__output": size},
        )
        for size in (16, 32, 64, 128, 256, 512)
    ]


def lr(scale: Scale) -> list[Cell]:
    """The base learning rate (Table 15a): multiples of the paper's 0.3, applied to the scale's own rate."""
    return [
        Cell(
            name=f"x{printed / 0.3:.2g}",
            row=f"{printed:g} (x {printed / 0.3:.2g})",
            paper=number("ablation_learning_rate", base_lr=printed),
            changes={"optim__lr": _times(scale.config.optim.lr, printed / 0.3)},
        )
        for printed in (0.01, 0.1, 0.2, 0.3, 0.4, 0.5, 1)
    ]


def weight_decay(scale: Scale) -> list[Cell]:
    """Weight decay (Table 15b): multiples of the paper's 1e-6, applied to the scale's own decay."""
    return [
        Cell(
            name=f"x{printed / 1e-6:.2g}",
            row=f"{printed:g} (x {printed / 1e-6:.2g})",
            paper=number("ablation_weight_decay", weight_decay=printed),
            changes={"optim__weight_decay": _times(scale.config.optim.weight_decay, printed / 1e-6)},
        )
        for printed in (1e-7, 5e-7, 1e-6, 5e-6, 1e-5)
    ]


def _times(value: float, factor: float) -> float:
    """A product with four digits; times 1 it is the value itself."""
    return float(f"{value * factor:.4g}")


def normalization(scale: Scale) -> list[Cell]:
    """Normalization of predictions and targets in the loss (Table 20)."""
    rows = {"l2": "l2-norm", "layer": "LayerNorm", "none": "no normalization", "batch": "BatchNorm"}
    return [
        Cell(
            name=name,
            row=row,
            paper=number("ablation_loss_normalization", normalization=row),
            changes={"method__normalization": name},
        )
        for name, row in rows.items()
    ]


def init(scale: Scale) -> list[Cell]:
    """Initial weights. The paper says that results stay above 72 when the scale of He initialization changes
    (Section 5), not by how much; other rows are remarks of the released code."""
    bound = number("text_numbers", quantity="changed initialization scaling factor, lower bound")
    other = "official" if scale.config.encoder.init == "timm" else "timm"
    names = {"timm": "He et al. (timm's)", "official": "truncated normal (the released code's)"}
    return [
        Cell(name=scale.config.encoder.init, row=names[scale.config.encoder.init], paper=number_of_byol()),
        *(
            Cell(
                name=f"scale-x{factor:g}",
                row=f"the same, times {factor:g}",
                changes={"encoder__init_scale": factor},
                note=f"above {bound.value:g} (Section 5; the factor is ours)",
            )
            for factor in (0.5, 2.0)
        ),
        Cell(name=other, row=names[other], changes={"encoder__init": other}),
        Cell(
            name="zero-last",
            row="residual blocks start as the identity",
            changes={"encoder__zero_init_last": True},
            note="more stable, no difference for ResNet-50 (README of the released code)",
        ),
        Cell(
            name="target-apart",
            row="target starts with its own weights",
            changes={"method__start": "apart"},
            note="no significant difference (a comment in the released code)",
        ),
    ]


def mean_teacher(scale: Scale) -> list[Cell]:
    """BYOL without its predictor is an unsupervised Mean Teacher, and collapses (Section 5; Table 5b)."""
    key = {"predictor": False, "target_parameters": "xi", "beta": 0}
    return [
        Cell(name="byol", row="BYOL", paper=number_of_byol()),
        Cell(
            name="no-predictor",
            row="no predictor (unsupervised Mean Teacher)",
            paper=number("infonce_bridge_full", **key),
            changes={"method__predictor_depth": 0},
        ),
    ]


def number_of_byol() -> PaperNumber:
    """BYOL itself at 300 epochs: 72.5."""
    return number("ablation_target", tau_base=0.99)


def encoders(scale: Scale) -> list[Cell]:
    """Depths and widths (Table 9), with the scale's own encoders in their place."""
    cells = []
    for (architecture, width), (encoder, own_width) in scale.encoders.items():
        rows = paper_tables()["linear_large_encoders"]["rows"]
        if not any((row["architecture"], row["width_multiplier"]) == (architecture, width) for row in rows):
            continue
        here = f"{encoder} x {own_width:g}"
        cells.append(
            Cell(
                name=f"{architecture.lower()}-x{width}",
                row=f"{architecture} x {width}" + ("" if scale.printed else f" ({here} here)"),
                paper=number("linear_large_encoders", "byol_top1", architecture=architecture, width_multiplier=width),
                changes={"encoder": encoder, "encoder__width": own_width},
            )
        )
    return cells


def methods(scale: Scale) -> list[Cell]:
    """BYOL, other methods, supervised and untrained networks (Tables 1a and 9; Section 3)."""
    keys = min(MOCO_QUEUE, 2 ** (scale.train_images.bit_length() - 1))
    moco = {"method": "moco", "method__tau": 0.999, "method__constant_tau": True}  # arXiv:1911.05722, Section 3.3
    moco |= {} if scale.printed else {"method__queue": keys}
    table = "linear_imagenet_resnet50"
    return [
        Cell(name="byol", row="BYOL", paper=number(table, method="BYOL (ours)")),
        Cell(name="moco", row="MoCo v2", paper=number(table, method="MoCo v2"), changes=moco),
        Cell(name="simclr", row="SimCLR", paper=number(table, method="SimCLR"), changes={"method": "simclr"}),
        Cell(
            name="supervised",
            row="supervised",
            paper=number("linear_large_encoders", "supervised_ours_top1", architecture="ResNet-50", width_multiplier=1),
            changes={"method": "supervised"},
        ),
        Cell(
            name="random",
            row="untrained",
            paper=number("text_numbers", quantity="randomly initialized encoder, linear evaluation"),
            changes={"epochs": 0.0},
        ),
    ]


def label_efficiency(scale: Scale) -> list[Cell]:
    """Fine-tuning with 1 % and 10 % of the labels (Table 2a); supervised starts from untrained weights."""
    rows: dict[str, tuple[str, dict[str, Any]]] = {
        "byol": ("BYOL (ours)", {}),
        "simclr": ("SimCLR", {"method": "simclr"}),
        "supervised": ("Supervised", {"epochs": 0.0}),
    }
    return [
        Cell(
            name=f"{name}-{share}",
            row=f"{row.removesuffix(' (ours)')}, {share} % of the labels",
            paper=number("semisup_resnet50", f"top1_{share}pct", method=row),
            changes=changes,
            metric="semi_1%" if share == 1 else "semi_10%",
        )
        for share in (1, 10)
        for name, (row, changes) in rows.items()
    ]
