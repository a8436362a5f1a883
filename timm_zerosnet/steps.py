"""The update of a block, ``x[n+1] = sum_i a[i] x[n-i] + sum_j b[j] f(x[n-j])``, with fixed or learned coefficients.

``forward(slope, states, slopes)`` returns the new state. It changes no tensor that it did not make: a hook, a graph or
the history may hold the slope and the old states.
"""

from fractions import Fraction
from typing import List, Sequence, Union

import torch
from torch import Tensor, nn

from .methods import zerosnet_coefficients

Number = Union[float, Fraction]
MU_RANGE = (-1.0, 3 - 2**-6)  # the method is zero-stable for -1 <= mu < 3; this upper end is exact in bfloat16


class FixedStep(nn.Module):
    """The update with given coefficients.

    Args:
        a: Weights of the states, newest first.
        b: Weights of the slopes, newest first.
        keeps_slopes: Whether the history keeps the slope for later blocks.
    """

    a: List[float]
    b: List[float]

    def __init__(self, a: Sequence[Number], b: Sequence[Number], keeps_slopes: bool = False):
        super().__init__()
        self.a = [float(c) for c in a]
        self.b = [float(c) for c in b[1:]]
        self.b0 = float(b[0])
        self.keeps_slopes = keeps_slopes

    def forward(self, slope: Tensor, states: List[Tensor], slopes: List[Tensor]) -> Tensor:
        x, own = slope, False
        if self.b0 != 1.0:
            # OpenVINO carries a change in place back through the product, to a slope that the history still needs
            x, own = slope * self.b0, not self.keeps_slopes
        for i, c in enumerate(self.a):
            if c != 0:
                x = x.add_(states[i], alpha=c) if own else x.add(states[i], alpha=c)
                own = True
        for j, c in enumerate(self.b):
            if c != 0:
                x = x.add_(slopes[j], alpha=c) if own else x.add(slopes[j], alpha=c)
                own = True
        return x

    def extra_repr(self) -> str:
        return f'a={self.a}, b={[self.b0] + self.b}'


class ZeroSNetStep(nn.Module):
    """ZeroSNet's family with ``mu = 1 / lambda`` learned.

    Args:
        mu: Initial value.
        constrain: Whether the update uses mu clamped to the zero-stable interval. The parameter itself may leave it.
        device: Device of mu.
        dtype: Data type of mu.
    """

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
        """The mu that the update uses: clamped if ``constrain``, with the gradient of an unclamped one.

        That is a straight-through estimator. A plain clamp has the gradient zero outside of the interval, where a mu
        that has left it would stay for ever.
        """
        if not self.constrain:
            return self.mu
        return self.mu.clamp(self.low, self.high).detach() + (self.mu - self.mu.detach())

    def forward(self, slope: Tensor, states: List[Tensor], slopes: List[Tensor]) -> Tensor:
        a, b0 = zerosnet_coefficients(self.effective_mu())
        x = slope * b0.to(slope.dtype)
        for i, c in enumerate([a[0], a[1], a[2]]):
            x = x.addcmul_(states[i].to(x.dtype), c.to(x.dtype))
        return x

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

    def forward(self, slope: Tensor, states: List[Tensor], slopes: List[Tensor]) -> Tensor:
        k, dtype = self.k.to(slope.dtype), slope.dtype
        return slope.addcmul(states[0].to(dtype), k).addcmul_(states[1].to(dtype), 1 - k)


Step = Union[FixedStep, ZeroSNetStep, LMStep]


@torch.no_grad()
def fix_coefficients(step: Step) -> FixedStep:
    """The step that computes the same with the coefficients of now, learned ones included."""
    if isinstance(step, FixedStep):
        return step
    if isinstance(step, ZeroSNetStep):
        a, b0 = zerosnet_coefficients(step.effective_mu().double().item())
        return FixedStep(a, [b0])
    k = step.k.double().item()
    return FixedStep([k, 1 - k], [1.0])
