"""The scale `paper` as commands: what a cluster runs, printed and never run from here."""

import shlex
from typing import Any

from byol.config import PretrainConfig, replace, to_json
from byol.paper.cells import Cell, Table
from byol.paper.scales import Scale

RECIPE = "paper-300"
"""The setting of every ablation (Section 5)."""
GPUS = 8
"""Processes of a node; more nodes by torchrun's own --nnodes."""


def flags(config: PretrainConfig, start: PretrainConfig) -> list[str]:
    """What `byol pretrain` must be told so that its recipe's config becomes another one."""
    return _flags(to_json(config), to_json(start), "--")


def _flags(values: dict[str, Any], start: dict[str, Any], prefix: str) -> list[str]:
    typed: list[str] = []
    for name, value in values.items():
        if value == start[name]:
            continue
        flag = prefix + name.replace("_", "-")
        if isinstance(value, dict):
            typed += _flags(value, start[name], flag + ".")
        elif isinstance(value, bool):
            typed.append(flag if value else f"{prefix}no-{name.replace('_', '-')}")
        elif isinstance(value, list):
            typed += [flag, *map(repr, value)]
        else:
            typed += [flag, str(value)]
    return typed


def commands(table: Table, cell: Cell, scale: Scale, seed: int, train: str, test: str) -> list[str]:
    """The lines that train and evaluate one cell."""
    config = replace(cell.config(scale), seed=seed)
    folder = f"runs/paper/{table.name}/{cell.name}-seed-{seed}"
    pretrain = ["torchrun", "--nproc-per-node", str(GPUS), "-m", "byol", "pretrain", train, "--recipe", RECIPE]
    evaluation = "semi" if table.fine_tunes else "linear"
    judge = ["byol", "eval", evaluation, folder, "--train", train, "--test", test, "--json", f"{folder}.json"]
    return [
        shlex.join([*pretrain, "--out", folder, *flags(config, scale.config)]),
        shlex.join(judge),
    ]
