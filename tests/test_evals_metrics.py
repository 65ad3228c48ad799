"""Each metric against an independent implementation on random inputs."""

import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from byol.evals import metrics
from byol.evals.boxes import voc_average_precision
from byol.evals.voc import Objects


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(7)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_top_k_is_scikit_learns(generator: torch.Generator, k: int) -> None:
    scores, labels = torch.rand(300, 7, generator=generator), torch.randint(0, 7, (300,), generator=generator)
    expected = sk.top_k_accuracy_score(labels.numpy(), scores.numpy(), k=k, labels=list(range(7)))
    assert metrics.top_k(scores, labels, k) == pytest.approx(expected)


def test_top_k_of_more_than_there_are_is_one(generator: torch.Generator) -> None:
    assert metrics.top_k(torch.rand(9, 3, generator=generator), torch.zeros(9, dtype=torch.long), 5) == 1


def test_mean_per_class_is_balanced_accuracy(generator: torch.Generator) -> None:
    scores, labels = torch.rand(300, 5, generator=generator), torch.randint(0, 5, (300,), generator=generator)
    expected = sk.balanced_accuracy_score(labels.numpy(), scores.argmax(1).numpy())
    assert metrics.mean_per_class(scores, labels) == pytest.approx(expected)


def eleven_points(scores: np.ndarray, truth: np.ndarray) -> float:
    """VOC 2007's average precision as its development kit words it, point by point."""
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(truth[order])
    recall, precision = hits / truth.sum(), hits / np.arange(1, len(hits) + 1)
    best = [precision[recall >= point - 1e-9].max(initial=0) for point in np.arange(0, 1.05, 0.1)]
    return float(np.mean(best))


def test_eleven_points(generator: torch.Generator) -> None:
    for _ in range(20):
        scores = torch.rand(60, generator=generator)
        truth = (torch.rand(60, generator=generator) < 0.3).long()
        found = metrics.average_precision(scores, truth, eleven_points=True)
        assert found == pytest.approx(eleven_points(scores.numpy(), truth.numpy()))


def test_area_is_never_below_scikit_learns_without_the_envelope(generator: torch.Generator) -> None:
    scores, truth = torch.rand(200, generator=generator), (torch.rand(200, generator=generator) < 0.2).long()
    ours = metrics.average_precision(scores, truth)
    assert sk.average_precision_score(truth.numpy(), scores.numpy()) <= ours <= 1
    perfect = metrics.average_precision(truth.float(), truth)
    assert perfect == pytest.approx(1)


def test_difficult_images_count_nowhere(generator: torch.Generator) -> None:
    scores, truth = torch.rand(50, generator=generator), (torch.rand(50, generator=generator) < 0.4).long()
    more_scores = torch.cat([scores, torch.rand(20, generator=generator)])
    more_truth = torch.cat([truth, torch.full((20,), -1)])
    assert metrics.average_precision(more_scores, more_truth) == metrics.average_precision(scores, truth)


def test_a_class_without_a_true_image_is_left_out_of_the_mean() -> None:
    truth = torch.tensor([[1, 0], [0, 0]])
    assert metrics.mean_average_precision(torch.tensor([[0.9, 0.1], [0.1, 0.5]]), truth) == pytest.approx(1)


def test_iou_is_scikit_learns_jaccard(generator: torch.Generator) -> None:
    predicted = torch.randint(0, 4, (5, 8, 8), generator=generator)
    truth = torch.randint(0, 4, (5, 8, 8), generator=generator)
    truth[0] = 255
    counts = metrics.confusion(predicted, truth, 4, 255)
    keep = (truth != 255).numpy()
    expected = sk.jaccard_score(truth.numpy()[keep], predicted.numpy()[keep], average=None)
    assert metrics.intersection_over_union(counts).numpy() == pytest.approx(expected)
    assert metrics.mean_iou(counts) == pytest.approx(expected.mean())
    assert metrics.pixel_accuracy(counts) == pytest.approx(
        sk.accuracy_score(truth.numpy()[keep], predicted.numpy()[keep])
    )


def test_box_iou_is_torchvisions(generator: torch.Generator) -> None:
    from torchvision.ops import box_iou

    corners = torch.rand(2, 9, 2, generator=generator) * 10
    boxes = torch.cat([corners, corners + torch.rand(2, 9, 2, generator=generator) * 5 + 0.1], dim=2)
    assert torch.allclose(metrics.box_iou(boxes[0], boxes[1]), box_iou(boxes[0], boxes[1]))


def test_depth_errors_by_hand() -> None:
    predicted, truth = torch.tensor([1.0, 2.0, 4.0]), torch.tensor([1.0, 1.5, 1.0])
    found = metrics.depth_errors(predicted, truth)
    assert found["below_1.25"] == pytest.approx(1 / 3)
    assert found["below_1.25^2"] == pytest.approx(2 / 3)
    assert found["rms"] == pytest.approx(np.sqrt((0.25 + 9) / 3))
    assert found["rel"] == pytest.approx((0.5 / 1.5 + 3) / 3)
    assert found["rms"] == pytest.approx(sk.root_mean_squared_error(truth.numpy(), predicted.numpy()))


def objects(boxes: list[list[float]], difficult: list[bool] | None = None) -> Objects:
    count = len(boxes)
    return Objects(
        torch.tensor(boxes).view(-1, 4).float(),
        torch.zeros(count, dtype=torch.long),
        torch.tensor(difficult or [False] * count, dtype=torch.bool),
    )


def two_boxes(boxes: list[list[float]]) -> list[dict[str, torch.Tensor]]:
    """One image in which a detector found two boxes, the first surer."""
    return [{"boxes": torch.tensor(boxes), "labels": torch.zeros(2), "scores": torch.tensor([0.9, 0.8])}]


def test_detection_a_second_box_on_an_object_is_a_miss() -> None:
    found = two_boxes([[0.0, 0, 10, 10], [0, 0, 10, 9]])
    truth = [objects([[0, 0, 10, 10], [50, 50, 60, 60]])]
    # ranks: hit, miss; recall 1/2 at precision 1
    assert voc_average_precision(found, truth, 0, eleven_points=False) == pytest.approx(0.5)
    assert voc_average_precision(found, truth, 0, eleven_points=True) == pytest.approx(6 / 11)


def test_detection_difficult_objects_are_neither_hit_nor_miss() -> None:
    found = two_boxes([[0.0, 0, 10, 10], [20, 20, 30, 30]])
    truth = [objects([[0, 0, 10, 10], [20, 20, 30, 30]], [True, False])]
    assert voc_average_precision(found, truth, 0, eleven_points=False) == pytest.approx(1)


def test_detection_against_torchmetrics(generator: torch.Generator) -> None:
    pytest.importorskip("torchmetrics.detection", reason="torchmetrics is not installed")
    pytest.importorskip("pycocotools", reason="torchmetrics' detection needs pycocotools")
    from torchmetrics.detection import MeanAveragePrecision

    judge = MeanAveragePrecision(iou_thresholds=[0.5])
    found, truth = [], []
    for _ in range(40):
        corner = torch.rand(4, 2, generator=generator) * 50
        boxes = torch.cat([corner, corner + 5 + torch.rand(4, 2, generator=generator) * 20], dim=1)
        moved = boxes + torch.randn(4, 4, generator=generator)
        found.append({"boxes": moved, "labels": torch.zeros(4), "scores": torch.rand(4, generator=generator)})
        truth.append(objects(boxes[:3].tolist()))
    judge.update(
        [{**f, "labels": f["labels"].long()} for f in found], [{"boxes": t.boxes, "labels": t.labels} for t in truth]
    )
    # COCO reads precision at 101 recalls, VOC takes the area
    assert voc_average_precision(found, truth, 0, eleven_points=False) == pytest.approx(
        float(judge.compute()["map_50"]), abs=0.01
    )


def test_detection_average_precision_is_that_of_the_matched_ranking(generator: torch.Generator) -> None:
    """Objects far apart, boxes either on one of them or on nothing: AP is that of a plain ranking."""
    found, truth, hits, scores = [], [], [], []
    for _ in range(20):
        corner = torch.tensor([[0.0, 0.0], [100.0, 0.0], [0.0, 100.0]])
        there = torch.rand(3, generator=generator) < 0.6
        boxes = torch.cat([corner, corner + 10], dim=1)
        score = torch.rand(3, generator=generator)
        found.append({"boxes": boxes + 1, "labels": torch.zeros(3), "scores": score})
        truth.append(objects(boxes[there].tolist()))
        hits += there.long().tolist()
        scores += score.tolist()
    expected = metrics.average_precision(torch.tensor(scores), torch.tensor(hits))
    assert voc_average_precision(found, truth, 0, eleven_points=False) == pytest.approx(expected)
