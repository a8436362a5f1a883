"""Blocks, projections, stages and stems of multistep residual networks."""

from collections import OrderedDict
from contextlib import nullcontext
from copy import deepcopy
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import torch
from timm.layers import BatchNormAct2d, DropPath
from timm.models import checkpoint
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from .history import BlockPlan
from .steps import FixedStep, Step, fix_coefficients


class MultistepBlock(nn.Module):
    """One step: branch, projection of the history where width or stride change, update.

    Args:
        in_chs: Channels of the newest state.
        norm_act: Makes a norm with its activation, from a number of channels.
        step: The update.
        state_proj: A projection (or ``nn.Identity``) for each state of the history, newest first; empty if none is
            projected.
        slope_proj: A projection (or ``nn.Identity``) for each older slope, newest first.
        shares_preact: Whether the newest state's projection takes ``relu(bn1(x))`` in place of ``x``.
        keeps_raw: Whether the history keeps the states as they came, so that the projections serve this step alone.
        keep: How many of the old states and how many slopes (this block's own included) the blocks after it need.
        drop_path: Probability with which a sample's slope is dropped in training.
        **dd: Device and dtype.

    Subclasses name the convolutions and norms that ``fuse`` folds into one (``folds``) and the branch's last
    convolution (``last``).
    """

    folds: Tuple[Tuple[str, str], ...] = ()
    last = ''

    def __init__(
        self,
        in_chs: int,
        norm_act: Callable,
        step: Step,
        state_proj: Sequence[nn.Module],
        slope_proj: Sequence[nn.Module],
        shares_preact: bool,
        keeps_raw: bool,
        keep: Tuple[int, int],
        drop_path: float,
        **dd: Any,
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
    def keep_only(self, plan: BlockPlan) -> None:
        """Drop what the plan, of a network with fewer blocks after this one, neither projects nor hands on."""
        states = max(plan.projects_states, default=-1) + 1
        self.state_proj = _chosen(self.state_proj[:states], plan.projects_states)
        self.slope_proj = _chosen(self.slope_proj[: plan.old_slopes], plan.projects_slopes)
        self.keep_states, self.keep_slopes = plan.keep_states, plan.keep_slopes

    def slope(self, pre: Tensor) -> Tensor:
        """The branch: ``f(x)`` from ``relu(bn1(x))``, of the shape of the block's new state."""
        raise NotImplementedError

    @torch.jit.ignore
    @torch.no_grad()
    def fuse(self) -> 'MultistepBlock':
        """Fold layers for inference; ``timm.utils.reparameterize_model`` calls this. The logits stay, up to rounding.

        A norm that follows a convolution goes into it. ``b[0]`` goes into the branch's last weight unless slopes are
        kept. The first norm and those of the projections stay, because they come before a convolution, as do norms
        other than timm's batch norm. A convolution that is pruned, parametrised, hooked or wrapped by an adapter stays
        as well, with its norm and ``b[0]``; so does a ``step`` with hooks.
        """
        for conv, norm in self.folds:
            folded, rest = _fold(getattr(self, conv), getattr(self, norm))
            setattr(self, conv, folded)
            setattr(self, norm, rest)
        if _is_watched(self.step):
            return self
        self.step = fix_coefficients(self.step)
        last = getattr(self, self.last)
        if _is_plain(last, nn.Conv2d) and not _is_watched(self.drop_path) and not self.step.keeps_slopes:
            b0 = self.step.b0
            bias = None if last.bias is None else last.bias * b0
            setattr(self, self.last, _with_parameters(last, last.weight * b0, bias))
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
        dd: Dict[str, Any] = {'device': kwargs.get('device'), 'dtype': kwargs.get('dtype')}
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
        dd: Dict[str, Any] = {'device': kwargs.get('device'), 'dtype': kwargs.get('dtype')}
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


class _KeepStatistics:
    """A context for the second run of a checkpointed block: its batch norms do not count the batch again."""

    def __init__(self, block: nn.Module):
        modules: List[Any] = list(block.modules())
        self.norms = [module for module in modules if getattr(module, 'num_batches_tracked', None) is not None]
        own = [module.running_var for module in modules if getattr(module, 'running_var', None) is not None]
        counted = [norm.running_var for norm in self.norms]
        self.others = [value for value in own if not any(value is other for other in counted)]  # EvoNorm's

    def __enter__(self) -> None:
        self.kept = [value.clone() for value in self.others]
        self.before = [(norm.momentum, norm.num_batches_tracked.clone()) for norm in self.norms]
        for norm in self.norms:
            norm.momentum = 0.0

    def __exit__(self, *error: object) -> None:
        for norm, (momentum, count) in zip(self.norms, self.before, strict=True):
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(count)
        for value, kept in zip(self.others, self.kept, strict=True):
            value.copy_(kept)


def _checkpoint(block: nn.Module, states: List[Tensor], slopes: List[Tensor]) -> Tuple[List[Tensor], List[Tensor]]:
    if torch.compiler.is_compiling():  # which takes no contexts
        return checkpoint(block, states, slopes)
    contexts = lambda: (nullcontext(), _KeepStatistics(block))  # noqa: E731
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
    """Whether a module is of that class and nothing else: not pruned, parametrised, hooked or wrapped."""
    own = {name for name, _ in module.named_parameters(recurse=False)} <= {'weight', 'bias'}
    return type(module) is kind and own and not _is_watched(module)


def _is_watched(module: nn.Module) -> bool:
    """Whether a hook or a replaced ``forward`` sees or changes what goes through a module."""
    return bool('forward' in vars(module) or module._forward_hooks or module._forward_pre_hooks)


def _with_parameters(conv: nn.Conv2d, weight: Tensor, bias: Optional[Tensor]) -> nn.Conv2d:
    """A copy with other parameters; the convolution itself stays as it is, other blocks may share it."""
    conv = deepcopy(conv)
    learns = conv.weight.requires_grad
    conv.weight, conv.bias = nn.Parameter(weight, learns), None if bias is None else nn.Parameter(bias, learns)
    return conv


def _fold(conv: Any, norm: Any) -> Tuple[Any, Any]:
    """A convolution with the batch norm after it folded in, and the norm's activation; both as given if they cannot."""
    plain = _is_plain(conv, nn.Conv2d) and _is_plain(norm, BatchNormAct2d)
    if not plain or norm.running_mean is None or norm.running_var is None:
        return conv, norm
    weight, bias = fuse_conv_bn_weights(
        conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
    return _with_parameters(conv, weight, bias), norm.act


def _chosen(projections: nn.ModuleList, offsets: Sequence[int]) -> nn.ModuleList:
    return nn.ModuleList(module if i in offsets else nn.Identity() for i, module in enumerate(projections))


def make_projection(kind: str, in_chs: int, out_chs: int, stride: int, norm_act: Callable, **dd: Any) -> nn.Module:
    """conv1x1(stride), after BN-ReLU if ``kind`` is ``'preact'``."""
    conv = nn.Conv2d(in_chs, out_chs, 1, stride, bias=False, **dd)
    return nn.Sequential(OrderedDict(norm=norm_act(in_chs, **dd), conv=conv)) if kind == 'preact' else conv


BLOCKS: Dict[str, Any] = {'basic': BasicBlock, 'bottleneck': Bottleneck}
