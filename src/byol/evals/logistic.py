"""Logistic regression with an l2 penalty, fitted by L-BFGS along a path of penalties.

The objective is scikit-learn's, divided by the number of examples N:

    mean cross-entropy + l2 / (2 N) * (squared norm of the weights, without the bias)

so `LogisticRegression(C=1 / l2)` has the same optimum. Only the way to it differs: features are centered and rotated to
their principal axes once, where the Hessian is nearly diagonal; each fit scales these axes by the diagonal of the
Hessian at its start; and it starts from an extrapolation of the path so far.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from byol.errors import UserError

MAX_ITERATIONS = 1000
"""Largest number of L-BFGS steps for one penalty; the paper does not say. Features of images take about 5 to 30."""
TOLERANCE = 1e-7
"""A fit ends when a step lowers the objective by less than this; it is then within about 1e-6 of the optimum."""
HISTORY = 10
"""History size of L-BFGS: the default of scipy and scikit-learn."""
EXACT_AXES = 1024
"""Largest number of features for which the principal axes are computed in float64."""
LEAST_CURVATURE = 1e-12
"""Floor of the Hessian's diagonal, for constant features."""


@dataclass(frozen=True)
class Fit:
    """A fitted linear classifier."""

    l2: float
    weight: Tensor
    """(C, D)."""
    bias: Tensor
    """(C,)."""
    objective: float
    """Loss per example, with the penalty."""
    evaluations: int
    """Number of passes over the examples."""

    def logits(self, features: Tensor) -> Tensor:
        """(N, D) -> (N, C)."""
        return torch.addmm(self.bias, features.to(self.weight), self.weight.T)


class LogisticPath:
    """Features and targets, prepared once for fits with any penalty.

    Args:
        features: (N, D), on the device that is used.
        targets: (N,) int64 in [0, classes) for a softmax; or (N, classes) with 1 yes, 0 no and -1 unknown, for one
            binary problem per class; their losses are added.
        classes: number of classes.

    Raises:
        UserError: features that are NaN or infinite.
    """

    def __init__(self, features: Tensor, targets: Tensor, classes: int) -> None:
        if not torch.isfinite(features).all():
            raise UserError("Some features are NaN or infinite; the encoder has diverged, so give an earlier one.")
        if features.device.type == "mps":  # which has no float64
            features = features.cpu()
        self.classes = classes
        self.targets = targets.to(features.device)
        self.mean = features.mean(dim=0, dtype=torch.float64)
        self.axes = principal_axes(features - self.mean.to(features))
        self.turned = (features - self.mean.to(features)) @ self.axes

    def path(self, penalties: list[float]) -> Iterator[Fit]:
        """Fits for falling penalties, each started from a linear extrapolation of the two before it."""
        assert penalties == sorted(penalties, reverse=True), "the path runs from the strongest penalty to the weakest"
        start, before = self._nothing(), None
        for l2 in penalties:
            at, objective, evaluations = self._descend(l2, start, torch.float32, TOLERANCE)
            yield self._as_fit(l2, at, objective, evaluations)
            # The optimum is almost linear in the logarithm of the penalty.
            start = at if before is None else 2 * at - before
            before = at

    def fit(self, l2: float) -> Fit:
        """The optimum for one penalty, from zero weights, through stronger penalties."""
        factors = [10.0**power for power in range(6, -1, -1)] if len(self.turned) > 1000 else [1.0]
        *_, last = self.path([l2 * factor for factor in factors])
        return last

    def gap(self, fit: Fit) -> float:
        """How much float64, started from a fit, can still lower its objective: a check of the float32 optimum."""
        weight = fit.weight.double() @ self.axes.double()
        bias = fit.bias.double() + fit.weight.double() @ self.mean
        start = torch.cat([weight, bias[:, None]], dim=1)
        _, objective, _ = self._descend(fit.l2, start, torch.float64, TOLERANCE / 1000)
        return self.objective(fit) - objective

    def objective(self, fit: Fit) -> float:
        """A fit's objective per example, computed in float64."""
        weight = fit.weight.double() @ self.axes.double()
        bias = fit.bias.double() + fit.weight.double() @ self.mean
        loss, _ = self._loss(torch.addmm(bias[:, None], weight, self.turned.double().T))
        return loss + 0.5 * fit.l2 / len(self.turned) * float(fit.weight.double().square().sum())

    def _nothing(self) -> Tensor:
        return torch.zeros(self.classes, self.turned.shape[1] + 1, device=self.turned.device)

    def _descend(self, l2: float, start: Tensor, precision: torch.dtype, tolerance: float) -> tuple[Tensor, float, int]:
        """From weights and biases (C, axes + 1), the optimum as such, its objective, and passes taken."""
        x, ridge = self.turned.to(precision), l2 / len(self.turned)
        scale = self._scale(x, start.to(precision), ridge)
        flat = (start.to(precision) / scale).flatten().requires_grad_()
        values: list[float] = []

        def closure() -> float:
            at = flat.detach().view_as(scale) * scale
            weight, bias = at[:, :-1], at[:, -1:]
            loss, slope = self._loss(torch.addmm(bias, weight, x.T))  # classes first: four times as fast
            gradient = torch.cat([torch.addmm(weight, slope, x, beta=ridge), slope.sum(dim=1, keepdim=True)], dim=1)
            flat.grad = (gradient * scale).flatten()
            values.append(loss + 0.5 * ridge * float(weight.double().square().sum()))
            return values[-1]

        optimizer = torch.optim.LBFGS(
            [flat],
            max_iter=MAX_ITERATIONS,
            max_eval=4 * MAX_ITERATIONS,
            history_size=HISTORY,
            tolerance_grad=1e-10,
            tolerance_change=tolerance,
            line_search_fn="strong_wolfe",
        )
        optimizer.step(closure)  # type: ignore[no-untyped-call]
        # the line search returns its best point
        return flat.detach().view_as(scale) * scale, min(values), len(values)

    def _scale(self, x: Tensor, at: Tensor, ridge: float) -> Tensor:
        """One over the square root of the Hessian's diagonal, (C, axes + 1)."""
        logits = torch.addmm(at[:, -1:], at[:, :-1], x.T)
        p = logits.sigmoid() if self.targets.ndim == 2 else logits.softmax(dim=0)
        curvature = p * (1 - p) / len(x)
        diagonal = torch.cat([curvature @ x.square() + ridge, curvature.sum(dim=1, keepdim=True)], dim=1)
        diagonal[:, -1].clamp_(min=1e-6)  # a class of a few examples must not take a giant step
        return diagonal.clamp_(min=LEAST_CURVATURE).rsqrt()

    def _loss(self, logits: Tensor) -> tuple[float, Tensor]:
        """Mean loss of logits (C, N), and its slope (C, N)."""
        count = logits.shape[1]
        if self.targets.ndim == 2:
            known = (self.targets >= 0).T
            wanted = self.targets.clamp_min(0).T.to(logits)
            each = torch.nn.functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none") * known
            return float(each.double().sum()) / count, (logits.sigmoid() - wanted) * known / count
        log_p = torch.log_softmax(logits, dim=0)
        rows = self.targets[None]
        loss = -float(log_p.gather(0, rows).double().mean())
        slope = log_p.exp_().scatter_add_(0, rows, torch.full_like(log_p[:1], -1.0)).div_(count)
        return loss, slope

    def _as_fit(self, l2: float, at: Tensor, objective: float, evaluations: int) -> Fit:
        weight = at[:, :-1].double() @ self.axes.double().T
        bias = at[:, -1].double() - weight @ self.mean
        return Fit(l2, weight.float(), bias.float(), objective, evaluations)


def principal_axes(centered: Tensor) -> Tensor:
    """Orthonormal axes (D, R) that span the rows of (N, D), R = min(N, D) at most.

    A penalized optimum has no part outside the span, so nothing is lost where there are fewer examples than features.
    """
    count, size = centered.shape
    if count >= size:
        gram = centered.T @ centered
        # orthonormal to 1e-6 is enough where float64 is slow
        axes: Tensor = torch.linalg.eigh(gram if size > EXACT_AXES else gram.double()).eigenvectors
        return axes.to(centered)
    values, left = torch.linalg.eigh(centered.double() @ centered.double().T)
    keep = values > 1e-10 * values[-1].clamp_min(1e-30)
    if not keep.any():
        keep[-1] = True
        return torch.zeros(size, 1, dtype=centered.dtype, device=centered.device)
    spanned: Tensor = centered.T.double() @ (left[:, keep] / values[keep].sqrt())
    return spanned.to(centered)
