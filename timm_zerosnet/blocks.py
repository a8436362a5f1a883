"""Blocks, projections, stages and stems of multistep residual networks."""

from collections import OrderedDict
from contextlib import nullcontext
from copy import deepcopy
from typing import Callable, List, Optional, Sequence, Tuple

import torch
from timm.layers import BatchNormAct2d, DropPath
from timm.models import checkpoint
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from .steps import FixedStep, fixed


class MultistepBlock(nn.Module):
    """One step: branch, projection of the history where width or stride change, update.

    Args:
        in_chs: Channels of the newest state.
        step: The update, a ``FixedStep``, ``ZeroSNetStep`` or ``LMStep``.
        state_proj: A projection (or ``nn.Identity``) for each state of the history, newest first; empty if none.
        slope_proj: Likewise for the slopes.
        shares_preact: The newest state's projection takes ``relu(bn1(x))``, not ``x``.
        keeps_raw: The history keeps the states as they came, the projections serve this step alone.
        keep: How many of the old states and slopes (this block's own included) the blocks after it need.
    """

    folds: Tuple[Tuple[str, str], ...] = ()
    last = ''

    def __init__(
        self,
        in_chs: int,
        norm_act: Callable,
        step: nn.Module,
        state_proj: Sequence[nn.Module],
        slope_proj: Sequence[nn.Module],
        shares_preact: bool,
        keeps_raw: bool,
        keep: Tuple[int, int],
        drop_path: float,
        **dd,
    ):
        super().__init__()
        self.projects = len(state_proj) > 0
        self.shares_preact = shares_preact
        self.keeps_raw = keeps_raw
        self.keep_states, self.keep_slopes = keep
        self.norm1 = norm_act(in_chs, **dd)
        self.state_proj = nn.ModuleList(state_proj)
        self.slope_proj = nn.ModuleList(slope_proj)
        self.step = step
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()

    def forward(self, states: List[Tensor], slopes: List[Tensor]) -> Tuple[List[Tensor], List[Tensor]]:
        """Takes and returns the newest states and slopes, newest first."""
        pre = self.norm1(states[0])
        terms = states
        if self.projects:
            terms = []
            for i, proj in enumerate(self.state_proj):
                terms.append(proj(pre if self.shares_preact and i == 0 else states[i]))
            old_slopes: List[Tensor] = []
            for j, proj in enumerate(self.slope_proj):
                old_slopes.append(proj(slopes[j]))
            slopes = old_slopes
        slope = self.drop_path(self.slope(pre))
        x = self.step(slope, terms, slopes)
        kept = states if self.keeps_raw else terms
        return [x] + kept[: self.keep_states], ([slope] + slopes)[: self.keep_slopes]

    @torch.jit.ignore
    @torch.no_grad()
    def fuse(self) -> 'MultistepBlock':
        """For inference, as ``timm.utils.reparameterize_model`` asks for: fewer passes, the same logits to rounding.

        Norms behind a convolution go into it, and ``b[0]`` into the branch's last weight unless slopes are kept. The
        first norm and those of the projections come before a convolution and stay, as do norms other than timm's batch
        norm. A convolution that is pruned, parametrised, hooked or wrapped by an adapter stays, with its norm and
        ``b[0]``.
        """
        for conv, norm in self.folds:
            folded, rest = _fold(getattr(self, conv), getattr(self, norm))
            setattr(self, conv, folded)
            setattr(self, norm, rest)
        self.step = fixed(self.step)
        last = getattr(self, self.last)
        if _is_plain(last, nn.Conv2d) and not _is_watched(self.drop_path) and not self.step.keeps_slopes:
            scaled = [None if each is None else each * self.step.b0 for each in (last.weight, last.bias)]
            setattr(self, self.last, _with_parameters(last, *scaled))
            self.step = FixedStep(self.step.a, [1.0])
        return self


class BasicBlock(MultistepBlock):
    """BN-ReLU-conv3x3(stride)-BN-ReLU-conv3x3."""

    expansion = 1
    folds = (('conv1', 'norm2'),)
    last = 'conv2'

    def __init__(
        self, in_chs: int, out_chs: int, stride: int, dilations: Tuple[int, int], norm_act: Callable, **kwargs
    ):
        super().__init__(in_chs, norm_act, **kwargs)
        dd = {'device': kwargs.get('device'), 'dtype': kwargs.get('dtype')}
        first, rest = dilations
        self.conv1 = nn.Conv2d(in_chs, out_chs, 3, stride, first, first, bias=False, **dd)
        self.norm2 = norm_act(out_chs, **dd)
        self.conv2 = nn.Conv2d(out_chs, out_chs, 3, 1, rest, rest, bias=False, **dd)

    def slope(self, pre: Tensor) -> Tensor:
        return self.conv2(self.norm2(self.conv1(pre)))


class Bottleneck(MultistepBlock):
    """BN-ReLU-conv1x1-BN-ReLU-conv3x3(stride)-BN-ReLU-conv1x1."""

    expansion = 4
    folds = (('conv1', 'norm2'), ('conv2', 'norm3'))
    last = 'conv3'

    def __init__(
        self, in_chs: int, out_chs: int, stride: int, dilations: Tuple[int, int], norm_act: Callable, **kwargs
    ):
        super().__init__(in_chs, norm_act, **kwargs)
        dd = {'device': kwargs.get('device'), 'dtype': kwargs.get('dtype')}
        mid_chs, first = out_chs // self.expansion, dilations[0]
        self.conv1 = nn.Conv2d(in_chs, mid_chs, 1, bias=False, **dd)
        self.norm2 = norm_act(mid_chs, **dd)
        self.conv2 = nn.Conv2d(mid_chs, mid_chs, 3, stride, first, first, bias=False, **dd)
        self.norm3 = norm_act(mid_chs, **dd)
        self.conv3 = nn.Conv2d(mid_chs, out_chs, 1, bias=False, **dd)

    def slope(self, pre: Tensor) -> Tensor:
        return self.conv3(self.norm3(self.conv2(self.norm2(self.conv1(pre)))))


class MultistepStage(nn.Module):
    """Blocks of one width."""

    def __init__(self, blocks: Sequence[MultistepBlock]):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.grad_checkpointing = False

    def forward(self, states: List[Tensor], slopes: List[Tensor]) -> Tuple[List[Tensor], List[Tensor]]:
        for block in self.blocks:
            if self.grad_checkpointing and not torch.jit.is_scripting():
                states, slopes = _checkpoint(block, states, slopes)
            else:
                states, slopes = block(states, slopes)
        return states, slopes


class _StatisticsOnce:
    """Around the second run of a checkpointed block: its batch norms must not count the batch again."""

    def __init__(self, block: nn.Module):
        self.norms = [module for module in block.modules() if getattr(module, 'num_batches_tracked', None) is not None]

    def __enter__(self) -> None:
        self.before = [(norm.momentum, norm.num_batches_tracked.clone()) for norm in self.norms]
        for norm in self.norms:
            norm.momentum = 0.0

    def __exit__(self, *error) -> None:
        for norm, (momentum, count) in zip(self.norms, self.before, strict=True):
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(count)


def _checkpoint(block: nn.Module, states: List[Tensor], slopes: List[Tensor]) -> Tuple[List[Tensor], List[Tensor]]:
    if torch.compiler.is_compiling():  # takes no contexts
        return checkpoint(block, states, slopes)
    contexts = lambda: (nullcontext(), _StatisticsOnce(block))  # noqa: E731
    return checkpoint(block, states, slopes, use_reentrant=False, context_fn=contexts)


class Stem(nn.Module):
    """``cifar``: conv3x3. ``imagenet``: conv7x7/2, BN, ReLU; the network pools after it."""

    def __init__(self, in_chans: int, out_chs: int, kind: str, norm_act: Callable, **dd):
        super().__init__()
        kernel, stride = (3, 1) if kind == 'cifar' else (7, 2)
        self.conv = nn.Conv2d(in_chans, out_chs, kernel, stride, kernel // 2, bias=False, **dd)
        self.norm = nn.Identity() if kind == 'cifar' else norm_act(out_chs, **dd)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))

    @torch.jit.ignore
    @torch.no_grad()
    def fuse(self) -> 'Stem':
        """See ``MultistepBlock.fuse``."""
        self.conv, self.norm = _fold(self.conv, self.norm)
        return self


def _is_plain(module: nn.Module, kind: type) -> bool:
    """Whether a module does what its class says, with parameters of its own: it is not pruned, hooked or wrapped."""
    own = {name for name, _ in module.named_parameters(recurse=False)} <= {'weight', 'bias'}
    return type(module) is kind and own and not _is_watched(module)


def _is_watched(module: nn.Module) -> bool:
    """Whether something from outside sees or changes what goes through a module."""
    return bool('forward' in vars(module) or module._forward_hooks or module._forward_pre_hooks)


def _with_parameters(conv: nn.Conv2d, weight: Tensor, bias: Optional[Tensor]) -> nn.Conv2d:
    """A copy with other parameters, so that a convolution that other blocks share stays as it is for them."""
    conv = deepcopy(conv)
    learns = conv.weight.requires_grad
    conv.weight, conv.bias = nn.Parameter(weight, learns), None if bias is None else nn.Parameter(bias, learns)
    return conv


def _fold(conv: nn.Module, norm: nn.Module) -> Tuple[nn.Module, nn.Module]:
    """A convolution that has taken in the batch norm behind it, and what is left of the norm, its activation."""
    plain = _is_plain(conv, nn.Conv2d) and _is_plain(norm, BatchNormAct2d)
    if not plain or norm.running_mean is None or norm.running_var is None:
        return conv, norm
    weight, bias = fuse_conv_bn_weights(
        conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
    activation: nn.Module = norm.act
    return _with_parameters(conv, weight, bias), activation


def make_projection(kind: str, in_chs: int, out_chs: int, stride: int, norm_act: Callable, **dd) -> nn.Module:
    conv = nn.Conv2d(in_chs, out_chs, 1, stride, bias=False, **dd)
    return nn.Sequential(OrderedDict(norm=norm_act(in_chs, **dd), conv=conv)) if kind == 'preact' else conv


BLOCKS = {'basic': BasicBlock, 'bottleneck': Bottleneck}
