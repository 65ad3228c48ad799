"""The scale `paper` as shell commands for a cluster; they are printed, never run from here."""

import shlex
from typing import Any

from byol.config.run import PretrainConfig
from byol.config.values import replace, to_json
from byol.paper.cells import Cell
from byol.paper.plan import Job
from byol.paper.scales import Scale

RECIPE = "paper-300"
"""The recipe of all ablations (Section 5)."""
GPUS = 8
"""Processes per node; add torchrun's `--nnodes` for more nodes."""


def flags(config: PretrainConfig, start: PretrainConfig) -> list[str]:
    """Flags of `byol pretrain` that turn the config `start` of its recipe into `config`."""
    method = config.method.name
    chosen = [] if method == start.method.name else ["--method", method]
    return chosen + _flags(to_json(config), to_json(replace(start, method=method)), "--")


def _flags(values: dict[str, Any], start: dict[str, Any], prefix: str) -> list[str]:
    typed: list[str] = []
    for name, value in values.items():
        if value == start[name]:
            continue
        flag = "--encoder" if (prefix, name) == ("--encoder.", "name") else prefix + name.replace("_", "-")
        if isinstance(value, dict):
            typed += _flags(value, start[name], flag + ".")
        elif isinstance(value, bool):
            typed.append(flag if value else f"{prefix}no-{name.replace('_', '-')}")
        elif isinstance(value, list):
            typed += [flag, *map(repr, value)]
        else:
            typed += [flag, str(value)]
    return typed


def _evaluations(cell: Cell) -> tuple[str, ...]:
    if cell.fine_tunes:
        return ("semi",)
    return ("linear", "knn", "fewshot", "layers") if cell.layers else ("linear",)


def commands(job: Job, scale: Scale, train: str, test: str) -> list[str]:
    """The commands that train a job once and run each evaluation that its rows need."""
    folder = f"runs/paper/{job.name}"
    pretrain = ["torchrun", "--nproc-per-node", str(GPUS), "-m", "byol", "pretrain", train, "--recipe", RECIPE]
    evaluations = dict.fromkeys(name for _, cell in job.rows for name in _evaluations(cell))
    recipe = replace(scale.config, logging=PretrainConfig().logging)
    return [
        shlex.join([*pretrain, "--out", folder, *flags(job.config, recipe)]),
        *(
            shlex.join(
                ["byol", "eval", name, folder, "--train", train, "--test", test, "--json", f"{folder}-{name}.json"]
            )
            for name in evaluations
        ),
    ]
