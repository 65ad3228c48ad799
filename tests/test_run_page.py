"""The page of a run says what its files say, and nothing in them is markup."""

import json
import shutil
from pathlib import Path

import pytest

import byol
from byol.cli.main import main
from byol.errors import UserError
from byol.pretraining.run_page import write_run_page
from byol.runtime.metrics import read_metrics
from conftest import TINY


@pytest.fixture(scope="module")
def finished(class_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on two classes, with readings."""
    out = tmp_path_factory.mktemp("page") / "run"
    byol.pretrain(class_folder, recipe="cifar10-cpu", out=out, quiet=True, **TINY)
    return out


def test_a_run_leaves_its_page(finished: Path) -> None:
    page = (finished / "report.html").read_text()
    kept = json.loads((finished / "verdict.json").read_text())
    assert kept["sentence"] in (finished / "log.txt").read_text()
    assert page.index(f"<strong>{kept['sentence']}</strong>") < page.index("Its course")
    assert "every image could be read" in page
    assert f"byol.load_encoder('{finished}')" in page
    assert '<tr><td>encoder.name</td><td>"resnet18"</td><td>' in page
    assert "<td>batch_size</td><td>16</td><td>" in page
    assert "loss over updates" in page
    assert "http" not in page.replace("http://www.w3.org/2000/svg", ""), "it refers to nothing outside"


def test_the_curve_ends_where_the_metrics_end(finished: Path) -> None:
    losses = [line["loss"] for line in read_metrics(finished / "metrics.jsonl") if "loss" in line]
    page = (finished / "report.html").read_text()
    _, _, after = page.partition("loss over updates")
    points = after.partition('<polyline points="')[2].partition('"')[0].split()
    heights = [float(point.split(",")[1]) for point in points]
    assert len(heights) == len(losses)
    # pixels run down: the margin of the axis is 6 % of the range at either end
    low, high = min(losses), max(losses)
    wanted = [200 * (1 - (loss - low + 0.06 * (high - low)) / (1.12 * (high - low))) for loss in losses]
    assert heights == pytest.approx(wanted, abs=0.02)


def test_a_run_that_goes_on_has_no_verdict_yet(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    for name in ("verdict.json", "report.html", "encoder.safetensors", "encoder.json"):
        (tmp_path / "run" / name).unlink()
    assert "<strong>No verdict is kept:</strong>" in write_run_page(tmp_path / "run").read_text()
    metrics = tmp_path / "run" / "metrics.jsonl"
    last = read_metrics(metrics)[-1]["step"]
    lines = [line for line in metrics.read_text().splitlines() if json.loads(line)["step"] < last]
    metrics.write_text("\n".join(lines))
    page = write_run_page(tmp_path / "run").read_text()
    step = json.loads(lines[-1])["step"]
    assert f"<strong>No verdict yet:</strong> the last line of metrics is of update {step} of {last}." in page
    assert "The run has left no encoder." in page


def test_nothing_that_was_read_is_markup(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "run" / "bad_images.txt").write_text("<script>alert(1)</script>.png\t**broken** `x`\n")
    with (tmp_path / "run" / "log.txt").open("a") as log:
        log.write("</code></pre><script>alert(2)</script>\n")
    page = write_run_page(tmp_path / "run").read_text()
    assert "<script" not in page
    assert "1 images could not be read, such as &lt;script&gt;alert(1)&lt;/script&gt;.png: **broken** `x`" in page


def test_report_as_typed(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (finished / "report.html").unlink()
    with pytest.raises(SystemExit) as stop:
        main(["report", str(finished)])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"page {finished / 'report.html'}\n"
    assert (finished / "report.html").is_file()
    with pytest.raises(UserError, match="holds no run"):
        write_run_page(tmp_path)
