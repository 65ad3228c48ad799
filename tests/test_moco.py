"""MoCo v2: the loss written out, the queue, and batch norm that tells nothing."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

import byol
from byol.errors import UserError
from byol.methods.moco import MoCo
from byol.methods.normalization import normalize
from conftest import TINY
from small_networks import online, views


def moco(norm: bool = False, **settings: int | bool | float) -> MoCo:
    values: dict[str, int | bool | float] = {"queue": 10, "shuffle": False, **settings}
    method = MoCo(*online(norm), **values).double()  # type: ignore[arg-type]
    torch.manual_seed(8)
    with torch.no_grad():
        for p in (*method.target_encoder.parameters(), *method.target_projector.parameters()):
            p.add_(0.3 * torch.randn_like(p))
    return method


def keys_of(method: MoCo, images: Tensor) -> Tensor:
    return normalize(method.target_projector(method.target_encoder(images)))


def test_loss_is_its_formula() -> None:
    method = moco(temperature=0.2)
    v1, v2 = views()
    queue = method.queue.clone()
    torch.testing.assert_close(queue.norm(dim=1), torch.ones(10, dtype=torch.float64), rtol=1e-6, atol=0)
    queries, keys = normalize(method.projector(method.encoder(v1))).detach(), keys_of(method, v2)
    total = 0.0
    for query, key in zip(queries, keys, strict=True):
        others = sum(math.exp(float(query @ negative) / 0.2) for negative in queue)
        own = math.exp(float(query @ key) / 0.2)
        total -= math.log(own / (own + others)) / len(queries)
    assert method(v1, v2).item() == pytest.approx(total, rel=1e-10)


def test_gradient_is_that_before_the_queue_moved_and_reaches_the_queries_only() -> None:
    method = moco()
    v1, v2 = views()
    queue, keys = method.queue.clone(), keys_of(method, v2)
    method(v1, v2).backward()
    assert all(p.grad is None for p in method.target_encoder.parameters())
    found = method.encoder.linear.weight.grad.clone()
    method.zero_grad()
    queries = normalize(method.projector(method.encoder(v1)))
    logits = torch.cat([(queries * keys).sum(1, keepdim=True), queries @ queue.T], 1) / 0.2
    (-logits.log_softmax(1)[:, 0].mean()).backward()
    torch.testing.assert_close(found, method.encoder.linear.weight.grad, rtol=1e-10, atol=1e-12)
    assert found.abs().max() > 1e-3


def test_queue_replaces_the_oldest_and_goes_round() -> None:
    method = moco()
    expected, at = method.queue.clone(), 0
    for seed in range(4):  # 6 keys a batch in a queue of 10
        v1, v2 = views(seed=seed)
        keys = keys_of(method, v2)
        for key in keys:
            expected[at % 10] = key
            at += 1
        method(v1, v2)
        torch.testing.assert_close(method.queue, expected)
        assert method.oldest.item() == at % 10
    assert {"queue", "oldest"} <= method.state_dict().keys()


def test_update_moves_the_key_network() -> None:
    method = moco()
    before = method.target_encoder.linear.weight.clone()
    method.update_target(0.9)
    torch.testing.assert_close(method.target_encoder.linear.weight, 0.9 * before + 0.1 * method.encoder.linear.weight)


def test_shuffling_alone_changes_no_key() -> None:
    plain, shuffled = moco(), moco(shuffle=True, splits=3)
    v1, v2 = views()
    torch.testing.assert_close(shuffled(v1, v2), plain(v1, v2), rtol=1e-12, atol=0)
    torch.testing.assert_close(shuffled.queue, plain.queue, rtol=1e-12, atol=1e-14)


def test_split_batch_norm_sees_parts_and_keys_sit_in_other_parts_than_queries() -> None:
    method = moco(norm=True, shuffle=True, splits=3)
    v1, v2 = views()
    queue = method.queue.clone()
    torch.manual_seed(5)
    order = torch.randperm(6)
    assert order.tolist() != list(range(6))
    keys = torch.empty(6, 4, dtype=torch.float64)
    for part in order.view(3, 2):
        keys[part] = keys_of(method, v2[part])
    queries = torch.cat([normalize(method.projector(method.encoder(part))) for part in v1.view(3, 2, 3, 2, 2)])
    logits = torch.cat([(queries * keys).sum(1, keepdim=True), queries @ queue.T], 1) / 0.2
    torch.manual_seed(5)
    torch.testing.assert_close(method(v1, v2), -logits.log_softmax(1)[:, 0].mean(), rtol=1e-10, atol=0)
    torch.testing.assert_close(method.queue[:6], keys, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"method__queue": 8}, "method.queue is 8, but must be at least the batch size 16"),
        ({}, r"at most the number of images, 160, .* give --method\.queue 128\."),
        ({"method__queue": 64, "method__splits": 3}, "method.splits is 3, but must divide a batch of 16"),
        ({"method__queue": 64, "optim__accumulate": 2}, "must divide a batch of 8 into parts of 2 images or more"),
    ],
)
def test_what_cannot_be_is_said_before_anything_starts(
    settings: dict[str, int],
    words: str,
    class_folder: Path,
    tmp_path: Path,
) -> None:
    with pytest.raises(UserError, match=words):
        byol.pretrain(
            class_folder, recipe="cifar10-cpu", method="moco", out=tmp_path / "run", quiet=True, **{**TINY, **settings}
        )
    assert not (tmp_path / "run").exists()
