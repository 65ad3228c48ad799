"""The evaluations by name. A new one is a module with an `EVALUATION`, and its line in `MODULES`."""

import ast
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from byol.errors import UserError, nearest

if TYPE_CHECKING:
    from byol.evals.evaluation import Evaluation

MODULES = (
    "byol.evals.knn",
    "byol.evals.linear",
    "byol.evals.fewshot",
    "byol.evals.layers",
    "byol.evals.semi",
    "byol.evals.finetune",
    "byol.evals.transfer",
    "byol.evals.segmentation",
    "byol.evals.detection",
    "byol.evals.depth",
)
"""Modules in the order of `byol eval --help`; the last part of a module's name is the evaluation's name."""


def load(name: str) -> "Evaluation":
    """Import an evaluation.

    Raises:
        UserError: there is none of that name.
    """
    modules = _by_name()
    if name not in modules:
        raise UserError(f"There is no evaluation {name!r}.{nearest(name, modules)} There are: {', '.join(modules)}.")
    evaluation: Evaluation = import_module(modules[name]).EVALUATION
    assert evaluation.name == name, "an evaluation has the name of its module"
    return evaluation


def descriptions() -> dict[str, str]:
    """The first line of each module's docstring, read without importing the module: `--help` needs no PyTorch."""
    return {name: _description(module) for name, module in _by_name().items()}


def _by_name() -> dict[str, str]:
    return {module.rpartition(".")[2]: module for module in MODULES}


def _description(module: str) -> str:
    spec = find_spec(module)
    assert spec is not None, f"{module} exists"
    assert spec.origin is not None, f"{module} is a file"
    docstring = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8")))
    assert docstring, f"{module} has a docstring"
    return docstring.splitlines()[0].removesuffix(".")
