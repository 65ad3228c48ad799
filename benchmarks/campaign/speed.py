"""Stage 2, speed: byol beside its limit, beside lightly and byol-pytorch, with CUDA graphs and with torch.compile."""

import argparse
import dataclasses
import statistics
from functools import partial

import torch

import limits
import peers
import taken
from byol.runtime import device as machine
from campaign.setting import Setting
from campaign.unit import Measured, Unit, not_installed
from contestants import WAYS, in_way
from results_file import Row, in_rounds
from throughput import quick
from workloads import ON_GPU, Ours, Workload, load

SMALL, LARGE = ON_GPU
ROUNDS = 3
PLAIN, GRAPH, COMPILED, BOTH = WAYS
BEST, BEST_COMPILED = "lightly, bf16 + channels_last", "lightly, bf16 + channels_last + compile"
PACKAGES = {"byol-pytorch": "byol_pytorch"}
"""Modules of peers that are not called as the peer is."""
SECONDS = {SMALL: 80.0, LARGE: 150.0}
"""Of a comparison in three rounds."""


def units(setting: Setting) -> list[Unit]:
    """The main figures: both workloads beside their limit and beside lightly at its best."""
    units = [(_limit(work, setting), _beside(work, PLAIN, BEST, setting)) for work in (SMALL, LARGE)]
    return [*(unit for pair in units for unit in pair), _way(SMALL, GRAPH, setting), _way(LARGE, COMPILED, setting)]


def more_units(setting: Setting) -> list[Unit]:
    """The other ways of computing an update, both sides compiled, and the other peers."""
    return [
        *(_way(work, us, setting) for work, us in ((SMALL, COMPILED), (SMALL, BOTH), (LARGE, GRAPH), (LARGE, BOTH))),
        *(_beside(work, COMPILED, BEST_COMPILED, setting) for work in (SMALL, LARGE)),
        *(_beside(work, PLAIN, peer, setting) for peer in ("byol-pytorch", "lightly") for work in (SMALL, LARGE)),
    ]


def _limit(work: str, setting: Setting) -> Unit:
    return Unit(stage="speed", what=f"{work} and its limit", seconds=60, work=partial(beside_limit, work, setting))


def _beside(work: str, us: str, peer: str, setting: Setting) -> Unit:
    return Unit(
        stage="speed",
        what=f"{work}: {us} beside {peer}",
        seconds=SECONDS[work] + (60 if us != PLAIN else 0),
        work=partial(beside_peer, work, us, peer, setting),
        missing=not_installed(PACKAGES.get(peer, peer.split(",")[0])) or needs_gpu(us),
    )


def _way(work: str, us: str, setting: Setting) -> Unit:
    return Unit(
        stage="speed",
        what=f"{work}: {us}",
        seconds=120 if WAYS[us].get("optim__compile") else 40,
        work=partial(by_way, work, us, setting),
        missing=needs_gpu(us),
    )


def needs_gpu(way: str) -> str:
    return "" if way == PLAIN or torch.cuda.is_available() else f"not available: {way!r} is measured on a GPU only"


def _workload(work: str, setting: Setting) -> Workload:
    return quick(ON_GPU[work]) if setting.tiny else ON_GPU[work]


def _options(setting: Setting) -> argparse.Namespace:
    """What `limits` and `peers` take from their command lines."""
    return argparse.Namespace(
        small=setting.train,
        jpeg=str(setting.photographs()),
        quick=setting.tiny,
        rounds=1 if setting.tiny else ROUNDS,
        workers=1 if setting.tiny else min(16, machine.cores()),
    )


def beside_limit(work: str, setting: Setting) -> Measured:
    """The roofline, the step alone on views made before, the run as it is, and where an update's time goes."""
    rows, ceilings = limits.measure(work, _workload(work, setting), _options(setting))
    median = {row.name: row.median for row in rows}
    said = (
        f"step {median['step alone']:,.0f}, together {median['together']:,.0f}, limit {median['limit']:,.0f} images/s"
    )
    return Measured([*limits.machine_rows(ceilings), *rows], said)


def beside_peer(work: str, us: str, peer: str, setting: Setting) -> Measured:
    """A whole training step from stored images, of byol and of a peer in turn; speed and peak memory."""
    options = _options(setting)
    options.against = [peer]
    found = peers.compare(work, options, us)
    rows = [dataclasses.replace(row, group=f"{work}, {us} beside {peer}") for row in found]
    median = {row.name: row.median for row in rows}
    said = (
        f"{median[us]:,.0f} and {median[peer]:,.0f} images/s, {median[f'{us} / {peer}']:.2f} times; "
        f"{median[f'{us} / {peer}, peak memory']:.2f} of the memory"
    )
    return Measured(rows, said)


def by_way(work: str, way: str, setting: Setting) -> Measured:
    """byol alone, its updates computed in another way."""
    workload = in_way(_workload(work, setting), way)
    device, _ = machine.choose_device("auto")
    machine.make_ready(device)
    taken.forget(device)
    options = _options(setting)
    ours = Ours(workload, load(workload, options.small, options.jpeg))
    values = in_rounds(
        {"pipeline alone": ours.pipeline, "step alone": ours.step, "together": ours.together}, options.rounds
    )
    about = {**ours.describe(), **WAYS[way]}
    rows = [Row(work, f"{way}: {what}", "images/s", each, about) for what, each in values.items()]
    rows.append(Row(work, f"{way}: peak memory", "MB", [taken.most(device) / 1e6], about))
    step, together = (statistics.median(values[what]) for what in ("step alone", "together"))
    return Measured(rows, f"step {step:,.0f}, together {together:,.0f} images/s")
