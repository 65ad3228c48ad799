"""Settings that had another name before: the older names are accepted on the command line and in Python."""

RENAMED = {
    "network": "encoder",
    "network__projector_depth": "method__projector_depth",
    "network__predictor_depth": "method__predictor_depth",
    "network__hidden": "method__hidden",
    "network__output": "method__output",
    "eval_size": "encoder__input_size",
    "augment__mean": "encoder__mean",
    "augment__std": "encoder__std",
    "target__kind": "method__target",
    "target__tau": "method__tau",
    "target__constant": "method__constant_tau",
    "target__start": "method__start",
    "loss": "method",
    "moco": "method",
    "optim__predictor_lr": "method__predictor_lr",
    "optim__projector_lr": "method__projector_lr",
    "optim__recompute": "optim__activation_checkpointing",
    "watch": "logging",
}
"""From a setting, or a whole section, to its name today; sections are joined to fields by two underscores."""


def current_name(setting: str) -> str:
    """Today's name of a setting such as `network__width`; names that never changed pass."""
    if setting in RENAMED:
        return RENAMED[setting]
    section, separator, field = setting.partition("__")
    return f"{RENAMED[section]}__{field}" if separator and section in RENAMED else setting
