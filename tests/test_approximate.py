"""Approximate neighbors: their recall is what scikit-learn's exact ones say, and nothing is missing."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from byol.encoders.load import open_encoder
from byol.errors import UserError
from byol.explore import approximate
from byol.explore.findings import ExploreConfig, explore, in_words
from byol.explore.neighbors import find_neighbors, find_others
from evals_data import CPU, colored

pytest.importorskip("faiss")


def scattered(count: int, features: int = 16, seed: int = 0) -> Tensor:
    """Vectors around 50 centers, of different lengths."""
    generator = torch.Generator().manual_seed(seed)
    centers = torch.randn(50, features, generator=generator)
    points = centers[torch.arange(count) % 50] + 0.4 * torch.randn(count, features, generator=generator)
    return points * (1 + torch.rand(count, 1, generator=generator))


def exact_rows(bank: Tensor, queries: Tensor | None, k: int) -> np.ndarray:
    fitted = NearestNeighbors(n_neighbors=k, metric="cosine", algorithm="brute").fit(bank)
    found: np.ndarray = fitted.kneighbors(queries, return_distance=False)
    return found


def share(found: Tensor, exact: np.ndarray) -> float:
    """Of the exact neighbors, those that were found."""
    return float(np.mean([np.isin(a, b).mean() for a, b in zip(exact, found.numpy(), strict=True)]))


def test_its_recall_is_that_of_scikit_learn() -> None:
    bank = scattered(3000)
    index = approximate.ApproximateIndex(bank, 20)
    assert index.cells == 75, "a cell for 40 vectors, where 4 times the root of 3,000 is more"
    near, exact = index.others(), exact_rows(bank, None, 20)
    assert near.rows.shape == (3000, 20)
    assert not (near.rows == torch.arange(3000)[:, None]).any(), "no image is its own neighbor"
    assert (near.similarity.diff(dim=1) <= 0).all(), "nearest first"
    assert share(near.rows, exact) > 0.97
    sample = torch.tensor(approximate._two_samples(3000)[1])
    assert index.recall == pytest.approx(share(near.rows[sample], exact[sample]), abs=1e-9)
    assert index.words == (
        f"neighbors: approximate, by faiss in {index._index.nprobe} of 75 cells; {index.recall:.1%} of the 20 nearest "
        "of 500 images are among those found"
    )
    unit = torch.nn.functional.normalize(bank, dim=1)
    torch.testing.assert_close(near.similarity[7], unit[near.rows[7]] @ unit[7])
    queries = scattered(100, seed=1)
    assert share(index.find(queries).rows, exact_rows(bank, queries, 20)) > 0.9


def test_it_is_exact_where_all_cells_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("FIRST_CELLS", 10**6), ("BLOCK", 37)):
        monkeypatch.setattr(approximate, name, value)
    bank, queries = scattered(400), scattered(50, seed=1)
    index = approximate.ApproximateIndex(bank, 10)
    assert index.recall == 1.0
    assert torch.equal(index.others().rows, find_others(bank, 10).rows)
    assert torch.equal(index.find(queries).rows, find_neighbors(bank, queries, 10).rows)


def test_where_cells_hold_too_few_the_exact_ones_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(approximate, "FIRST_CELLS", 1)
    monkeypatch.setattr(approximate, "WANTED", 0.0)
    bank = scattered(400)
    index = approximate.ApproximateIndex(bank, 200)
    found, exact = index.others(), find_others(bank, 200)
    assert found.similarity.isfinite().all()
    assert (found.rows >= 0).all()
    # cells of about 40 vectors hold no 200 neighbors
    torch.testing.assert_close(found.similarity, exact.similarity)
    queries = bank[:5] + 1
    torch.testing.assert_close(index.find(queries).similarity, find_neighbors(bank, queries, 200).similarity)


def test_copies_are_found_whichever_of_them_come_first() -> None:
    bank = scattered(20).repeat(50, 1)
    index = approximate.ApproximateIndex(bank, 20)
    assert index.recall == 1.0, "equally near images are as good as each other"
    torch.testing.assert_close(index.others().similarity, torch.ones(1000, 20))


def test_features_that_are_no_numbers_are_refused() -> None:
    bank = scattered(100)
    bank[3, 2] = torch.nan
    with pytest.raises(UserError, match="1 of 100 rows of features are NaN or infinite"):
        approximate.ApproximateIndex(bank, 5)


def test_a_set_says_that_its_neighbors_are_approximate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BYOL_HOME", str(tmp_path / "home"))
    source, encoder = colored(60, 3), open_encoder("pixels@8")
    config = ExploreConfig(exact_up_to=100, map="pca")
    found = explore(encoder, source, config, CPU, test=colored(5, 3))
    (said,) = [sentence for sentence in in_words(found) if sentence.startswith("neighbors")]
    assert said.startswith("neighbors: approximate, by faiss in 4 of 4 cells; 100.0% of the 20 nearest of 90 images")
    exact = explore(encoder, source, ExploreConfig(map="pca"), CPU, test=colored(5, 3))
    assert not [sentence for sentence in in_words(exact) if sentence.startswith("neighbors")]
    assert found.duplicates.groups == exact.duplicates.groups
    torch.testing.assert_close(found.neighbors.similarity, exact.neighbors.similarity)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"as more than 100 are, which needs faiss; run pip install 'byol\[explore\]'"):
        explore(encoder, source, config, CPU)
    with pytest.raises(UserError, match="exact_up_to is 0"):
        ExploreConfig(exact_up_to=0)
