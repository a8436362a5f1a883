"""The update of a block, ``x[n+1] = sum_i a[i] x[n-i] + sum_j b[j] f(x[n-j])``, with fixed or learned coefficients.

A step has ``scale(weight)``, which the branch applies to its last weight so that ``b[0]`` costs no pass over the
activations, and ``forward(slope, states, slopes, inplace)``, which adds the history to the slope.
"""

from typing import List, Sequence

import torch
from torch import Tensor, nn

from .methods import zerosnet_coefficients

MU_RANGE = (-1.0, 3 - 2**-6)  # zero-stable is -1 <= mu < 3; the upper end is exact in bfloat16


class FixedStep(nn.Module):
    """The update with given coefficients; ``b[0]`` scales the branch's last weight unless slopes are kept."""

    a: List[float]
    b: List[float]

    def __init__(self, a: Sequence[float], b: Sequence[float], keeps_slopes: bool = False):
        super().__init__()
        self.a = [float(c) for c in a]
        self.b = [float(c) for c in b[1:]]
        self.b0 = float(b[0])
        self.keeps_slopes = keeps_slopes

    def scale(self, weight: Tensor) -> Tensor:
        return weight if self.keeps_slopes or self.b0 == 1.0 else weight * self.b0

    def forward(self, slope: Tensor, states: List[Tensor], slopes: List[Tensor], inplace: bool = False) -> Tensor:
        fresh = self.keeps_slopes or inplace
        x = slope * self.b0 if self.keeps_slopes else slope
        for i, c in enumerate(self.a):
            if c != 0:
                x = x.add_(states[i], alpha=c) if fresh else x.add(states[i], alpha=c)
                fresh = True
        for j, c in enumerate(self.b):
            if c != 0:
                x = x.add_(slopes[j], alpha=c)
        return x

    def extra_repr(self) -> str:
        return f'a={self.a}, b={[self.b0] + self.b}'


class ZeroSNetStep(nn.Module):
    """ZeroSNet's family with ``mu = 1 / lambda`` learned, kept inside the zero-stable interval if ``constrain``."""

    def __init__(self, mu: float, constrain: bool = False, device=None, dtype=None):
        super().__init__()
        self.init = mu
        self.constrain = constrain
        self.low, self.high = MU_RANGE
        self.mu = nn.Parameter(torch.full((1,), mu, device=device, dtype=dtype))

    @torch.no_grad()
    def init_weights(self) -> None:
        self.mu.fill_(self.init)

    def effective_mu(self) -> Tensor:
        if not self.constrain:
            return self.mu
        # the gradient passes where mu has left the interval, so that it can come back
        return self.mu.clamp(self.low, self.high).detach() + (self.mu - self.mu.detach())

    def scale(self, weight: Tensor) -> Tensor:
        _, b0 = zerosnet_coefficients(self.effective_mu())
        return weight * b0

    def forward(self, slope: Tensor, states: List[Tensor], slopes: List[Tensor], inplace: bool = False) -> Tensor:
        a, _ = zerosnet_coefficients(self.effective_mu())
        return _weighted_sum(slope, states, [a[0], a[1], a[2]], inplace)

    def extra_repr(self) -> str:
        return f'constrain={self.constrain}'


class LMStep(nn.Module):
    """LM-ResNet: ``x[n+1] = k x[n] + (1 - k) x[n-1] + f(x[n])`` with k learned, initially U(1, 1.1)."""

    def __init__(self, device=None, dtype=None):
        super().__init__()
        self.k = nn.Parameter(torch.empty(1, device=device, dtype=dtype))
        self.init_weights()

    def init_weights(self) -> None:
        nn.init.uniform_(self.k, 1.0, 1.1)

    def scale(self, weight: Tensor) -> Tensor:
        return weight

    def forward(self, slope: Tensor, states: List[Tensor], slopes: List[Tensor], inplace: bool = False) -> Tensor:
        return _weighted_sum(slope, states, [self.k, 1 - self.k], inplace)


@torch.no_grad()
def fixed(step: nn.Module) -> FixedStep:
    """The step with the coefficients that it has now, its ``b[0]`` taken by the branch's last weight."""
    if isinstance(step, FixedStep):
        return FixedStep(step.a, [step.b0 if step.keeps_slopes else 1.0, *step.b], step.keeps_slopes)
    if isinstance(step, ZeroSNetStep):
        a, _ = zerosnet_coefficients(step.effective_mu().double().item())
        return FixedStep(a, [1.0])
    k = step.k.double().item()
    return FixedStep([k, 1 - k], [1.0])


def _weighted_sum(x: Tensor, states: List[Tensor], a: List[Tensor], inplace: bool) -> Tensor:
    for i, c in enumerate(a):
        state, weight = states[i].to(x.dtype), c.to(x.dtype)
        x = x.addcmul_(state, weight) if inplace or i > 0 else x.addcmul(state, weight)
    return x


class SlopeConv2d(nn.Conv2d):
    """The last convolution of a branch, applied with its weight as the step scales it."""

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:  # type: ignore[override]
        return self._conv_forward(x, weight, self.bias)
