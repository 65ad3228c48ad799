"""`byol bench`: this machine's ceilings, a configuration's limit, what it reaches, and where its time goes."""

import dataclasses
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from byol.bench.advice import Findings, advise
from byol.bench.ceilings import Ceilings, measure_ceilings
from byol.bench.limits import Limit, limit_of
from byol.bench.measure import Subject, batches_in
from byol.bench.profile import Profile
from byol.bench.synthetic import SyntheticPhotos
from byol.config.run import PretrainConfig
from byol.config.values import to_json
from byol.data.describe import describe
from byol.data.labeling import Images
from byol.data.reading import opened_as
from byol.data.sources.open import Source
from byol.data.survey import Survey
from byol.errors import UserError
from byol.pretraining.checks import check
from byol.pretraining.planner import Planner
from byol.pretraining.setup import Run, monitor_for, open_images, outputs, prepare
from byol.recipes.facts import visible_settings
from byol.recipes.presets import recipe_named
from byol.runtime import device as machine

EMBEDDED_MOST = 64
"""Largest views, in pixels, for which the embedded photographs are taken where no data is given."""
ROUNDS = 3
"""Times that each figure is measured, in turn."""
CEILINGS_SHARE, PROFILE_SHARE = 0.15, 0.15
"""Parts of the time for the ceilings and for the profile; the rest is for images per second."""


@dataclass(frozen=True)
class Report:
    """What was found."""

    data: str
    images: int
    held: bool
    """Whether the images lie decoded in memory."""
    config: PretrainConfig
    """As resolved: device, precision, and whether images are held in memory."""
    ceilings: Ceilings
    limit: Limit
    rates: dict[str, list[float]]
    """Images per second of `pipeline`, `step` and `together`, one value per round."""
    profile: Profile
    findings: Findings
    advice: str
    machine: dict[str, object]

    def as_json(self) -> dict[str, Any]:
        """Plain values, for a file."""
        total = self.limit.total
        return {
            "data": {"name": self.data, "images": self.images, "held": self.held},
            "config": to_json(self.config),
            "ceilings": dataclasses.asdict(self.ceilings),
            "limit": {
                "flops": total.flops,
                "bytes": total.bytes,
                "parts": {part: dataclasses.asdict(work) for part, work in self.limit.parts.items()},
                "images_per_second": self.limit.images_per_second(self.ceilings),
                "bound_by": "memory" if self.limit.bound_by_memory(self.ceilings) else "arithmetic",
            },
            "images_per_second": {
                name: {"median": statistics.median(values), "values": values} for name, values in self.rates.items()
            },
            "step_share_of_limit": self.findings.share,
            "together_share_of_step": self.findings.together / self.findings.step,
            "seconds_per_update": {"parts": self.profile.seconds, "beside": self.profile.beside},
            "advice": self.advice,
            "threads": self.findings.threads,
            "machine": self.machine,
        }


def bench(
    data: str | Path | Source | None = None,
    *,
    recipe: str = "auto",
    seconds: float = 60.0,
    tiny: bool = False,
    **settings: Any,
) -> Report:
    """Measure a configuration on this machine.

    Args:
        data: as for `pretrain`; without it the embedded photographs for views up to 64 px, else photographs made up.
        recipe: the starting point.
        seconds: time to measure for, about: at least a few batches of each figure are always measured.
        tiny: measure the ceilings with small blocks, to see that everything works.
        settings: anything in `PretrainConfig`, as for `pretrain`.

    Raises:
        UserError: whatever the caller can mend, in one sentence.
    """
    if not seconds > 0:
        raise UserError(f"{seconds:g} seconds were given; give --seconds above 0.")
    device, _ = machine.choose_device(visible_settings(settings).device)
    machine.make_ready(device)
    run, seen = _prepared(data, recipe, settings, device)
    ceilings = measure_ceilings(device, CEILINGS_SHARE * seconds, tiny)
    limit = limit_of(run.config, run.data)
    subject = Subject(run.loader)
    each = (1 - CEILINGS_SHARE - PROFILE_SHARE) * seconds / (3 * ROUNDS)
    rates = _in_turn(subject, each)
    together = statistics.median(rates["together"])
    updates = max(1, int(PROFILE_SHARE * seconds * together / run.config.batch_size))
    measured = subject.profile(updates)
    findings = Findings(
        device=device.type,
        precision=run.config.precision,
        threads=torch.get_num_threads(),
        cores=machine.cores(),
        pipeline=statistics.median(rates["pipeline"]),
        step=statistics.median(rates["step"]),
        together=together,
        started=subject.started_share(),
        ceilings=ceilings,
        limit=limit,
        profile=measured,
    )
    return Report(
        data=describe(run.source, seen),
        images=run.images,
        held=run.loader.storage.decoded is not None,
        config=run.config,
        ceilings=ceilings,
        limit=limit,
        rates=rates,
        profile=measured,
        findings=findings,
        advice=advise(findings),
        machine=machine.describe(),
    )


def _prepared(
    data: str | Path | Source | None, recipe: str, settings: dict[str, Any], device: torch.device
) -> tuple[Run, Survey]:
    """The run that `pretrain` would start with the same words, were there no budget; and the survey of its images."""
    chosen, asked = recipe_named(recipe), visible_settings(settings).data
    place = "photos:train" if data is None else data
    with opened_as(asked):
        images = open_images(place, monitor_for(place, None), asked.channels, device)
    planner, seen = Planner.of(chosen, images, device, settings)
    if data is None and planner.config(planner.plan()).image_size > EMBEDDED_MOST:
        images = Images(SyntheticPhotos(), None)
        planner, seen = Planner.of(chosen, images, device, settings)
    config = planner.config(planner.plan())
    check(config, images.source)
    config = planner.with_precision(config, device)[0].config(planner.plan())
    with outputs(None, config, images.source.name, quiet=True) as silent:
        return prepare(config, images, seen, device, silent), seen


def _in_turn(subject: Subject, seconds: float) -> dict[str, list[float]]:
    """Every figure for so many seconds, in turn: a machine that slows down for a while slows all of them."""
    measures = {"pipeline": subject.pipeline, "step": subject.step, "together": subject.together}
    size = subject.config.batch_size
    counts = {name: batches_in(measure, size, seconds) for name, measure in measures.items()}
    rates: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(ROUNDS):
        for name, measure in measures.items():
            rates[name].append(measure(counts[name]))
    return rates
