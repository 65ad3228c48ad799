"""Approximate nearest neighbors of large sets by faiss, and how many of the exact ones it finds.

The unit vectors are split into cells around centers (faiss's IVF index with whole vectors); a search looks at the cells
nearest to a query. How many is chosen on a sample of the set, whose exact neighbors are known; another sample says the
recall.
"""

import importlib.util
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from byol.data.sample import evenly
from byol.errors import UserError
from byol.evals.knn import Groups, nearest
from byol.explore.neighbors import Neighbors, check_features

CELLS_PER_ROOT = 4
"""Cells for each unit of the square root of the number of vectors, the least that faiss advises."""
TRAINED_ON, ROUNDS = 40, 10
"""Vectors for each cell from which centers are fitted, one more than faiss asks for, and rounds of k-means."""
WANTED = 0.98
"""Recall on the sample from which no more cells are looked at."""
FIRST_CELLS = 8
"""Cells that are tried first; twice as many each time after that."""
SAMPLE = 500
"""Images of either sample: whose exact neighbors choose the cells, and whose recall is said."""
BLOCK = 65536
"""Vectors that are copied at once."""
SAME = 1e-6
"""Difference of cosines below which two neighbors are equally near."""


def check_faiss(count: int, exact_up_to: int) -> None:
    """See that neighbors of so many images can be found.

    Raises:
        UserError: they are to be approximate, and faiss is not installed.
    """
    if count > exact_up_to and importlib.util.find_spec("faiss") is None:
        raise UserError(
            f"Neighbors of {count:,} images are approximate, as more than {exact_up_to:,} are, which needs faiss; run "
            f"pip install 'byol[explore]', or give --exact-up-to {count} for exact ones, which take longer."
        )


class ApproximateIndex:
    """A set of vectors (N, D) that is searched by cosine.

    Args:
        bank: of any scale, finite; may be mapped from a file. faiss holds a copy in memory.
        k: neighbors that are asked for.
        seed: of the centers.

    Raises:
        UserError: features that are NaN or infinite, or k below 1.
    """

    def __init__(self, bank: Tensor, k: int, seed: int = 0) -> None:
        import faiss

        check_features(bank, bank, k)
        self.bank, self.k = bank, min(k, len(bank) - 1)
        self.cells = max(1, min(CELLS_PER_ROOT * math.isqrt(len(bank)), len(bank) // TRAINED_ON))
        width = bank.shape[1]
        self._centers = faiss.IndexFlatIP(width)  # the index does not own it
        self._index: Any = faiss.IndexIVFFlat(self._centers, width, self.cells, faiss.METRIC_INNER_PRODUCT)
        self._index.cp.seed, self._index.cp.niter = seed + 1, ROUNDS
        self._index.cp.min_points_per_centroid = 1  # faiss warns on the terminal of fewer than 39
        self._index.train(_unit(bank[evenly(len(bank), TRAINED_ON * self.cells)]).numpy())
        for block in torch.split(bank, BLOCK):
            self._index.add(_unit(block).numpy())
        chosen_on, self._judged_on = (torch.tensor(part) for part in _two_samples(len(bank)))
        self._choose_cells(chosen_on)
        self.recall = self._recall(self._judged_on)
        """Share of the k nearest other rows that are found, of a sample that chose nothing."""

    @property
    def words(self) -> str:
        """How neighbors were found."""
        return (
            f"neighbors: approximate, by faiss in {self._index.nprobe:,} of {self.cells:,} cells; "
            f"{self.recall:.1%} of the {self.k} nearest of {len(self._judged_on)} images are among those found"
        )

    def others(self) -> Neighbors:
        """The k nearest other rows of each row, N - 1 at most."""
        return self._others(torch.arange(len(self.bank)))

    def find(self, queries: Tensor) -> Neighbors:
        """The k nearest rows of each of the queries (M, D).

        Raises:
            UserError: features that are NaN or infinite.
        """
        check_features(self.bank, queries, self.k)
        return _joined([self._completed(block, *self._search(block, self.k)) for block in torch.split(queries, BLOCK)])

    def _others(self, rows: Tensor) -> Neighbors:
        found = []
        for own in torch.split(rows, BLOCK):
            similarity, near = self._search(self.bank[own], self.k + 1)
            similarity = similarity.masked_fill(near == own[:, None], -torch.inf)
            similarity, order = similarity.sort(dim=1, descending=True, stable=True)
            near = near.gather(1, order)[:, : self.k]
            found.append(self._completed(self.bank[own], similarity[:, : self.k], near, own))
        return _joined(found)

    def _search(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        similarity, rows = self._index.search(_unit(queries).numpy(), k)
        similarity, rows = torch.from_numpy(similarity), torch.from_numpy(rows)
        return similarity.masked_fill(rows < 0, -torch.inf), rows

    def _completed(self, queries: Tensor, similarity: Tensor, rows: Tensor, own: Tensor | None = None) -> Neighbors:
        """Neighbors, with exact ones where the cells of a query held fewer than k."""
        few = similarity.isinf().any(dim=1).nonzero()[:, 0]
        if len(few):
            every = torch.arange(len(self.bank))
            groups = None if own is None else Groups(every, own[few])
            similarity[few], rows[few] = nearest(self.bank, every, queries[few], self.k, groups=groups)
        return Neighbors(similarity, rows)

    def _choose_cells(self, sample: Tensor) -> None:
        self._index.nprobe = min(FIRST_CELLS, self.cells)
        while self._index.nprobe < self.cells and self._recall(sample) < WANTED:
            self._index.nprobe = min(2 * self._index.nprobe, self.cells)

    def _recall(self, sample: Tensor) -> float:
        if not len(sample) or not self.k:
            return 1.0
        every = torch.arange(len(self.bank))
        exact, _ = nearest(self.bank, every, self.bank[sample], self.k, groups=Groups(every, sample))
        found = self._others(sample).similarity
        return float((found >= exact[:, -1:] - SAME).double().mean())


def _unit(features: Tensor) -> Tensor:
    return F.normalize(features.float(), dim=1)


def _two_samples(count: int) -> tuple[list[int], list[int]]:
    both = evenly(count, 2 * SAMPLE)
    return both[::2], both[1::2]


def _joined(parts: list[Neighbors]) -> Neighbors:
    return Neighbors(torch.cat([part.similarity for part in parts]), torch.cat([part.rows for part in parts]))
