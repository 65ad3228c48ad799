"""k-means against scikit-learn from the same start, empty clusters, and whitening."""

import numpy as np
import torch
from sklearn.cluster import KMeans

from byol.methods.kmeans import _assign, _means, kmeans, whitened
from byol.runtime.seeds import generator_of


def test_it_ends_where_scikit_learn_ends() -> None:
    points = torch.randn(200, 5, generator=torch.Generator().manual_seed(0))
    start = points[torch.randperm(200, generator=generator_of("kmeans", 7))[:6]].numpy()
    theirs = KMeans(6, init=start, n_init=1, max_iter=100, tol=0).fit(points.numpy())
    assert torch.equal(kmeans(points, 6, seed=7, rounds=100), torch.from_numpy(theirs.labels_).long())


def test_well_parted_groups_are_found() -> None:
    points = torch.cat([torch.randn(30, 2, generator=torch.Generator().manual_seed(1)) + 50 * k for k in range(2)])
    labels = kmeans(points, 2, seed=0)
    assert labels[:30].unique().numel() == labels[30:].unique().numel() == 1
    assert labels[0] != labels[-1]


def test_a_center_without_points_goes_to_the_farthest_one() -> None:
    points = torch.tensor([[0.0], [1.0], [9.0]])
    nearest, distances = _assign(points, torch.tensor([[0.0], [100.0]]))
    assert nearest.tolist() == [0, 0, 0]
    assert distances.tolist() == [0, 1, 81]
    assert _means(points, nearest, distances, 2).squeeze(1).tolist() == [np.float32(10 / 3), 9.0]


def test_whitened_features_are_unit_vectors_without_correlation() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(4000, 3, generator=generator) @ torch.tensor([[9.0, 0, 0], [1, 2, 0], [0, 0, 0.1]]) + 5
    found = whitened(features, 3)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(4000))
    torch.testing.assert_close(found.T @ found / 4000, torch.eye(3) / 3, atol=0.02, rtol=0)
    assert whitened(features, 2).shape == (4000, 2)
