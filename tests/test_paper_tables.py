"""The paper's tables as cells: its numbers, and configs that differ in what a row says and in nothing else."""

import shlex
from typing import Any

import pytest

from byol.cli.pretrain import Pretrain
from byol.cli.settings import parse_run
from byol.config.run import PretrainConfig
from byol.config.values import replace, to_json
from byol.errors import UserError
from byol.paper.catalog import TABLES, chosen, table_named, tables_named
from byol.paper.commands import commands
from byol.paper.costs import costs_at, costs_of
from byol.paper.headlines import BATCHES, REMOVED
from byol.paper.numbers import paper_tables
from byol.paper.plan import part_of, plan
from byol.paper.results import result_config
from byol.paper.scales import SCALES, Scale, cpu, cpu_short, paper, scale_named, small
from byol.recipes.presets import RECIPES

ALL = [(table, scale()) for table in TABLES.values() for scale in SCALES.values()]
COSTS = costs_at(cpu())
NAMES = [f"{table.name}-{scale.name}" for table, scale in ALL]


def cells_of(name: str, scale: Scale | None = None) -> dict[str, Any]:
    return {cell.name: cell for cell in TABLES[name].cells(scale or cpu())}


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return found


def differences(config: PretrainConfig, start: PretrainConfig) -> dict[str, Any]:
    """Settings that its method reads and in which a config differs from another, by their full names."""
    before = flat(to_json(replace(start, method=config.method.name))) | {"method.name": start.method.name}
    return {key: value for key, value in flat(to_json(config)).items() if value != before[key]}


def column(table: str, metric: str) -> list[float]:
    return [row[metric] for row in paper_tables()[table]["rows"]]


PRINTED: dict[str, list[float]] = {
    "targets": [*column("ablation_target", "top1"), 0.01, 62.8, 66.6, 66.3],
    "bridge": [72.5, 70.9, 70.7, 70.2, 69.4, 69.2, 69.0, 5.5, 0.3, 0.2, 0.1, 0.1],
    "batch-size": column("ablation_batch_size", "byol_top1") + column("ablation_batch_size", "simclr_top1"),
    "augmentations": column("ablation_augmentations", "byol_top1") + column("ablation_augmentations", "simclr_top1"),
    "normalization": [72.5, 72.5, 67.4, 65.3],
    "projection": [69.9, 71.3, 72.2, 72.5, 72.5, 72.6],
    "heads": [61.9, 65.0, 65.7, 71.5, 72.5, 71.4, 71.4, 72.1, 72.1],
    "lr": [34.8, 65.0, 71.7, 72.5, 72.3, 71.5, 69.4],
    "weight-decay": [72.1, 72.6, 72.5, 71.0, 69.6],
    "mean-teacher": [72.5, 0.2],
    "init": [72.5],
    "methods": [74.3, 71.1, 69.3, 76.4, 1.4],
    "label-efficiency": [53.2, 48.3, 25.4, 68.8, 65.6, 56.4],
    "temperature": column("infonce_beta_temperature", "top1"),
    "pretext": [1.4, 45.7, 59.0, 63.6, 63.8, 66.2, 60.6, 71.1, 69.3, 74.3, 76.4],
    "pretext-minutes": [],  # what a pass costs was measured at the scale cpu alone
}
"""What the paper prints, typed again where the table is short."""


@pytest.mark.parametrize("name", PRINTED)
def test_cells_carry_the_papers_numbers(name: str) -> None:
    found = [cell.paper.value for cell in TABLES[name].cells(small()) if cell.paper is not None]
    assert found == PRINTED[name]


def test_every_table_of_the_paper_is_covered() -> None:
    assert set(PRINTED) | {"encoders"} == set(TABLES)
    every = cells_of("encoders", paper()).values()
    assert sorted(cell.paper.value for cell in every) == sorted(column("linear_large_encoders", "byol_top1"))


def test_spreads_and_sources_are_given() -> None:
    small_batch = cells_of("batch-size", paper())["simclr-64"]
    assert (small_batch.paper.value, small_batch.paper.spread, small_batch.paper.source) == (59.2, 2.9, "Table 16")
    assert cells_of("batch-size")["byol-4096"].paper.spread is None


@pytest.mark.parametrize(("table", "scale"), ALL, ids=NAMES)
def test_every_cell_is_a_valid_run_of_its_own(table: Any, scale: Scale) -> None:
    cells = table.cells(scale)
    if not cells and table.name == "pretext-minutes":
        pytest.skip("what a pass costs was not measured at this scale")
    assert len({cell.name for cell in cells}) == len(cells) >= 2
    configs = {result_config(cell.config(scale)) for cell in cells}
    if table.name != "label-efficiency":  # two shares of the labels, one encoder
        assert len(configs) == len(cells), "no two rows are the same run"
    images = scale.train_images
    for cell in cells:
        assert not cell.config(scale).logging.stop_on_collapse
        assert cell.config(scale).total_steps(images) > 0 or cell.config(scale).epochs == 0


MAY_CHANGE: dict[str, set[str]] = {
    "targets": {"method.tau", "method.constant_tau", "method.predictor_lr"},
    "bridge": {
        "method.name",
        "method.beta",
        "method.temperature",
        "method.target",
        "method.predictor_depth",
        "method.predictor_lr",
    },
    "batch-size": {"method.name", "optim.accumulate"},
    "normalization": {"method.normalization"},
    "projection": {"method.output"},
    "heads": {"method.projector_depth", "method.predictor_depth"},
    "lr": {"optim.lr"},
    "weight-decay": {"optim.weight_decay"},
    "mean-teacher": {"method.predictor_depth"},
    "init": {"encoder.init", "encoder.init_scale", "encoder.zero_init_last", "method.start"},
    "methods": {"method.name", "epochs", "method.queue", "method.tau", "method.constant_tau"},
    "label-efficiency": {"method.name", "epochs"},
    "encoders": {"encoder.name", "encoder.width"},
    "temperature": {"method.name", "method.beta", "method.temperature"},
    "pretext": {
        *("method.name", "epochs", "image_size"),
        *("method.queue", "method.tau", "method.constant_tau", "method.negatives"),
        *("method.projector_depth", "method.output", "method.temperature"),
        *("augment.view1.blur", "augment.view2.blur", "augment.view2.solarize"),
    },
    "pretext-minutes": {
        *("method.name", "epochs", "image_size"),
        *("method.queue", "method.tau", "method.constant_tau", "method.negatives"),
        *("method.projector_depth", "method.output", "method.temperature"),
        *("augment.view1.blur", "augment.view2.blur", "augment.view2.solarize"),
    },
}


@pytest.mark.parametrize("scale", [cpu(), small(), paper()], ids=lambda scale: scale.name)
@pytest.mark.parametrize("name", MAY_CHANGE)
def test_rows_change_nothing_else(name: str, scale: Scale) -> None:
    changed = {key for cell in TABLES[name].cells(scale) for key in differences(cell.config(scale), scale.config)}
    assert changed <= MAY_CHANGE[name]


EXACTLY: dict[tuple[str, str], dict[str, Any]] = {
    ("targets", "tau-0.99"): {},
    ("targets", "tau-0.9"): {"method.tau": 0.9},
    ("targets", "tau-1"): {"method.tau": 1.0},
    ("targets", "tau-0"): {"method.tau": 0.0, "method.constant_tau": True, "method.predictor_lr": 1.0},
    ("targets", "tau-0-predictor-x20"): {"method.tau": 0.0, "method.constant_tau": True, "method.predictor_lr": 20.0},
    ("bridge", "predictor-ema-beta-0"): {},
    ("bridge", "plain-online-beta-1"): {
        "method.name": "infonce",
        "method.target": "online",
        "method.predictor_depth": 0,
    },
    ("bridge", "predictor-stop-gradient-beta-0"): {
        "method.name": "infonce",
        "method.beta": 0.0,
        "method.target": "stop-gradient",
        "method.predictor_lr": 1.0,
    },
    ("batch-size", "byol-4096"): {},
    ("batch-size", "simclr-256"): {"method.name": "simclr", "optim.accumulate": 16},
    ("normalization", "batch"): {"method.normalization": "batch"},
    ("heads", "projector-2-predictor-2"): {},
    ("projection", "256"): {},
    ("lr", "x1"): {},
    ("methods", "byol"): {},
    ("methods", "moco"): {
        "method.name": "moco",
        "method.queue": 4096,
        "method.tau": 0.999,
        "method.constant_tau": True,
    },
    ("init", "scale-x2"): {"encoder.init_scale": 2.0},
    ("weight-decay", "x1"): {},
}


@pytest.mark.parametrize(("table", "cell"), EXACTLY, ids=lambda name: name)
def test_rows_change_exactly_what_they_say(table: str, cell: str) -> None:
    scale = cpu()
    assert differences(cells_of(table)[cell].config(scale), scale.config) == EXACTLY[table, cell]


measured = pytest.mark.skipif(not COSTS, reason="no cost has been measured yet")


@measured
@pytest.mark.parametrize("scale", [cpu(), cpu_short()], ids=lambda scale: scale.name)
def test_rows_of_equal_minutes_have_the_passes_that_byols_minutes_allow(scale: Scale) -> None:
    passes, minutes = cells_of("pretext", scale), cells_of("pretext-minutes", scale)
    assert list(minutes) == list(passes)
    assert set(passes) - {"random"} == set(COSTS)
    for name in ("random", "byol"):
        assert minutes[name] == passes[name], "the same run, which is not made twice"
    for name, cost in COSTS.items():
        epochs = minutes[name].config(scale).epochs
        assert epochs * cost == pytest.approx(scale.config.epochs, abs=0.01 * cost)
        assert differences(minutes[name].config(scale), passes[name].config(scale)).keys() <= {"epochs"}
    assert minutes["jigsaw"].config(scale).epochs < scale.config.epochs, "nine tiles cost more than two views"
    assert minutes["rotation"].config(scale).epochs != minutes["vae"].config(scale).epochs


def test_a_cost_is_a_system_over_byol_at_a_scale() -> None:
    rows = [
        {"group": group, "name": name, "median": median}
        for group, name, median in (("cpu", "byol", 20.0), ("cpu", "jigsaw", 47.0), ("small", "jigsaw", 3.0))
    ]
    assert costs_of(rows, "cpu") == {"byol": 1.0, "jigsaw": 2.35}
    assert costs_of(rows, "small") == costs_of([], "cpu") == {}, "nothing to compare with"


@measured
def test_a_table_runs_with_its_companions() -> None:
    assert [table.name for table in tables_named("pretext")] == ["pretext", "pretext-minutes"]
    assert [table.name for table in tables_named("heads")] == ["heads"]
    assert tables_named("all") == list(TABLES.values())
    jobs = plan(tables_named("pretext"), cpu(), seeds=1)
    shared = [[cell.name for _, cell in job.rows] for job in jobs if len(job.rows) == 2]
    assert ["random"] * 2 in shared
    assert ["byol"] * 2 in shared
    assert all(job.extras == {"layers"} for job in jobs)
    with pytest.raises(UserError, match="pretext-minutes has no rows at the scale small, where the cost"):
        plan(tables_named("pretext-minutes"), small(), seeds=1)


def test_rows_of_systems_are_printed_with_all_their_evaluations() -> None:
    (job,) = plan([TABLES["pretext"]], paper(), seeds=1, only=("jigsaw",))
    printed = commands(job, paper(), "train", "test")
    assert [line.split()[2] for line in printed[1:]] == ["linear", "knn", "fewshot", "layers"]


def test_augmentations_are_removed_from_views_that_have_them_all() -> None:
    scale = small()
    cells = cells_of("augmentations", scale)
    base = cells["byol-baseline"].config(scale)
    assert base == replace(scale.config, augment=scale.everything)
    assert (base.augment.view1.blur, base.augment.view2.blur, base.augment.view2.solarize) == (1.0, 0.1, 0.2)

    def removed(name: str) -> dict[str, Any]:
        both = [differences(cells[f"{method}-{name}"].config(scale), base) for method in ("byol", "simclr")]
        assert both[1] == {"method.name": "simclr", **both[0]}, "the same for both methods"
        return {key.removeprefix("augment."): value for key, value in both[0].items()}

    def views(**settings: float) -> dict[str, float]:
        return {f"{view}.{key}": value for view in ("view1", "view2") for key, value in settings.items()}

    assert removed("flip") == views(flip=0.0)
    assert removed("color") == views(jitter=0.0, gray=0.0)
    assert removed("jitter") == views(jitter=0.0)
    assert removed("blur-in-t2") == {"view2.blur": 0.0}
    assert removed("both-in-t2") == {"view2.blur": 0.0, "view2.solarize": 0.0}
    assert removed("symmetric") == {**views(blur=0.5), "view1.solarize": 0.2}
    nothing = {**views(flip=0.0, jitter=0.0, gray=0.0, blur=0.0), "view2.solarize": 0.0}
    assert removed("crop") == nothing
    assert removed("crop-flip") == {key: value for key, value in nothing.items() if "flip" not in key}
    assert removed("crop-color") == {k: v for k, v in nothing.items() if "jitter" not in k and "gray" not in k}
    assert removed("crop-blur") == {key: value for key, value in nothing.items() if "blur" not in key}


def test_views_too_small_to_blur_have_no_rows_about_blur_alone() -> None:
    of_blur = {"blur", "blur-in-t2", "both-in-t2", "crop-blur"}
    left = {f"{method}-{name}" for method in ("byol", "simclr") for name in REMOVED if name not in of_blur}
    assert set(cells_of("augmentations", cpu())) == left
    assert len(cells_of("augmentations", small())) == 28
    configs = {result_config(cell.config(cpu())) for cell in cells_of("augmentations", cpu()).values()}
    assert len(configs) == len(left)


@pytest.mark.parametrize("scale", [cpu(), small(), paper()], ids=lambda scale: scale.name)
def test_batches_shrink_in_the_papers_ratios(scale: Scale) -> None:
    cells = cells_of("batch-size", scale)
    there = BATCHES[:5] if scale.name == "cpu" else BATCHES
    smallest = scale.config.batch_size * there[-1] // 4096
    said = {"cpu": f"micro-batches of {smallest // 2} and {smallest // 4} images"}
    said |= {"small": f"the smallest have {smallest} images"}
    assert said.get(scale.name, "") in TABLES["batch-size"].limit(scale)
    assert list(cells) == [f"{method}-{batch}" for method in ("byol", "simclr") for batch in there]
    for batch in there:
        config = cells[f"byol-{batch}"].config(scale)
        assert config.batch_size == scale.config.batch_size, "the update keeps its size"
        assert config.batch_size / config.optim.accumulate == scale.config.batch_size * batch / 4096


@pytest.mark.parametrize("scale", [cpu(), small(), paper()], ids=lambda scale: scale.name)
def test_rates_and_decays_are_multiples_of_the_scales_own(scale: Scale) -> None:
    rates = [cell.config(scale).optim.lr / scale.config.optim.lr for cell in TABLES["lr"].cells(scale)]
    assert rates == pytest.approx([lr / 0.3 for lr in (0.01, 0.1, 0.2, 0.3, 0.4, 0.5, 1)], rel=1e-3)
    decays = [
        cell.config(scale).optim.weight_decay / scale.config.optim.weight_decay
        for cell in TABLES["weight-decay"].cells(scale)
    ]
    assert decays == pytest.approx([0.1, 0.5, 1, 5, 10])
    if scale.name == "paper":
        lrs = [cell.config(scale).optim.lr for cell in TABLES["lr"].cells(scale)]
        assert lrs == [0.01, 0.1, 0.2, 0.3, 0.4, 0.5, 1]


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_printed_commands_make_the_cells_config(table: Any) -> None:
    if not table.cells(paper()):
        pytest.skip("it has no rows at this scale")
    jobs = plan([table], paper(), seeds=1)
    for job in jobs[:: max(1, len(jobs) // 5)]:
        line, judge, *_ = commands(job, paper(), "train images/", "test/")
        words = shlex.split(line)
        assert words[:5] == ["torchrun", "--nproc-per-node", "8", "-m", "byol"]
        typed = words[words.index("pretrain") + 1 :]
        command, settings = parse_run(Pretrain, typed, "pretrain", "")
        assert command.images == "train images/"
        start = RECIPES[command.recipe].make(None).config  # type: ignore[arg-type]  (the paper's look at nothing)
        assert replace(start, **settings) == job.config, "the watch among it"
        evaluation = "semi" if table.name == "label-efficiency" else "linear"
        assert shlex.split(judge)[:4] == ["byol", "eval", evaluation, command.out]


def test_a_plan_runs_whole_tables_seed_by_seed_and_every_training_once() -> None:
    scale, tables = cpu(), [TABLES["lr"], TABLES["targets"]]
    jobs = plan(tables, scale, seeds=3)
    assert [job.config.seed for job in jobs] == sorted(job.config.seed for job in jobs)
    assert len({result_config(job.config) for job in jobs}) == len(jobs) == 3 * (7 + 9 - 1)
    shared = [job for job in jobs if len(job.rows) == 2]
    assert [[table.name for table, _ in job.rows] for job in shared] == 3 * [["lr", "targets"]]
    served = [(table.name, cell.name, job.config.seed) for job in jobs for table, cell in job.rows]
    assert len(served) == len(set(served)) == 3 * (7 + 9)

    parts = [part_of(jobs, f"{number}/4") for number in (1, 2, 3, 4)]
    assert sorted(job.name for part in parts for job in part) == sorted(job.name for job in jobs)
    for wrong in ("0/4", "5/4", "2", "a/b", "1/0"):
        with pytest.raises(UserError, match="1/4"):
            part_of(jobs, wrong)


def test_all_begins_with_the_tables_that_carry_the_claims() -> None:
    first = ["targets", "bridge", "batch-size", "augmentations", "normalization", "projection", "heads", "lr"]
    assert list(TABLES)[:8] == first


def test_cells_are_chosen_by_pattern() -> None:
    names = [cell.name for cell in chosen(TABLES["batch-size"], cpu(), ("byol-*", "simclr-256"))]
    assert names == [f"byol-{batch}" for batch in BATCHES[:5]] + ["simclr-256"]
    with pytest.raises(UserError, match=r"No cell is called tau-2; the cells of targets are: tau-1, tau-0.999"):
        plan([TABLES["targets"]], cpu(), 1, ("tau-2",))


def test_wrong_names_name_the_right_ones() -> None:
    with pytest.raises(UserError, match=r"no table 'targts'. Did you mean 'targets'\? There are: targets, bridge"):
        table_named("targts")
    with pytest.raises(
        UserError, match=r"no scale 'cpus'. Did you mean 'cpu'\? The scales are: cpu, cpu-short, cpu-long, small, paper"
    ):
        scale_named("cpus")
