"""Residual networks whose skip connections are a linear multistep method.

A block computes its slope ``f(x[n])`` with a pre-activation branch, updates the state by its method,
``x[n+1] = sum_i a[i] x[n-i] + sum_j b[j] f(x[n-j])``, and hands the history on. The first k - 1 blocks of a method with
k terms are Euler steps.

Papers:
    ZeroSNet: Chen, Jin, Shang, Zero Stability Well Predicts Performance of Convolutional Neural Networks, AAAI 2022,
        https://arxiv.org/abs/2206.13100
    LM-ResNet: Lu et al., Beyond Finite Layer Neural Networks, ICML 2018, https://arxiv.org/abs/1710.10121
    PreActResNet: He et al., Identity Mappings in Deep Residual Networks, ECCV 2016, https://arxiv.org/abs/1603.05027

Deviations: the learned parameter of ZeroSNet_Tra is mu = 1 / lambda, in which the coefficients are linear; parameters
that the original implementations carry without using them do not exist here.
"""

import math
import warnings
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple, Union

import torch
from timm.layers import ClassifierHead, calculate_drop_path_rates, get_norm_act_layer
from torch import Tensor, nn

from .blocks import BLOCKS, MultistepBlock, MultistepStage, Stem, make_projection
from .methods import MethodLike, parse_method, zerosnet
from .multistep import MultistepMethod, ZeroStabilityWarning
from .steps import FixedStep, LMStep, ZeroSNetStep

__all__ = ['MultistepResNet']

LayerType = Union[str, Callable, type]
LARGEST = torch.finfo(torch.float32).max


def _live(uses: Sequence[Sequence[int]]) -> List[set]:
    """Offsets (0 = newest) of the history that each block or a later one uses, and none after the last.

    An entry at offset s is at offset s + 1 for the next block.
    """
    live: List[set] = [set() for _ in range(len(uses) + 1)]
    for i in reversed(range(len(uses))):
        live[i] = set(uses[i]) | {s - 1 for s in live[i + 1] if s > 0}
    return live


class MultistepResNet(nn.Module):
    """A residual network with linear multistep skip connections.

    Args:
        layers: Blocks of each stage, at least one in each.
        widths: Width of each stage, as many as ``layers``, before the expansion (4) of a bottleneck.
        block: ``'basic'`` or ``'bottleneck'``.
        stem: ``'cifar'`` (conv3x3, final norm, any input size) or ``'imagenet'`` (conv7x7/2 and pooling, no
            final norm).
        method: A ``MultistepMethod`` or its name, see ``parse_method``; default ``'zerosnet-opt'``. One that is not
            zero-stable or not consistent is built with one ``ZeroStabilityWarning``.
        learn: ``'mu'`` learns ZeroSNet's 1 / lambda in each block, ``'k'`` LM-ResNet's k; the method is then theirs,
            and ``method`` is refused.
        projection: How the newest state is projected where width or stride change: ``'bare'`` conv1x1, ``'preact'``
            BN-ReLU-conv1x1, ``'shared'`` conv1x1 of the block's relu(bn1(x)). Older states always have a bare conv1x1.
        start_projection: The same for a bottleneck's block 0; ``'preact-raw'`` is ``'preact'`` for that step alone,
            while the history keeps the stem's output. Defaults to ``projection``.
        euler_at_projection: Take an Euler step where the newest state is projected.
        lambda_init: Initial lambda (not 0) with ``learn='mu'``; default 1.
        constrain_mu: With ``learn='mu'``, the mu that a block uses stays in the zero-stable interval [-1, 3).
        num_classes: Width of the classifier, at least 0, which stands for none.
        in_chans: Input channels.
        global_pool: timm's pooling type, ``''`` for none.
        output_stride: Largest reduction, a power of two; later strides become dilations. Default: none do.
        act_layer, norm_layer: timm layer names or classes.
        drop_rate: Dropout before the classifier, [0, 1).
        drop_path_rate: Stochastic depth of the last block, [0, 1), rising linearly from 0. A dropped slope is zero, in
            this step and where a method uses it again; a kept one is divided by its probability in both.
        device, dtype: Of all parameters.

    Shape:
        ``(N, in_chans, H, W)`` to ``(N, num_classes)``.

    Raises:
        ValueError: for a value outside of what is named above, or a method that gives the newest slope no weight.
    """

    def __init__(
        self,
        layers: Sequence[int] = (3, 3, 3),
        widths: Sequence[int] = (16, 32, 64),
        block: str = 'basic',
        stem: str = 'cifar',
        method: Optional[MethodLike] = None,
        learn: Optional[str] = None,
        projection: str = 'bare',
        start_projection: Optional[str] = None,
        euler_at_projection: bool = False,
        lambda_init: Union[float, str, None] = None,
        constrain_mu: bool = False,
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = 'avg',
        output_stride: int = 32,
        act_layer: LayerType = 'relu',
        norm_layer: LayerType = 'batchnorm2d',
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        device=None,
        dtype=None,
    ):
        super().__init__()
        dd = {'device': device, 'dtype': dtype}
        _check('block', block, BLOCKS)
        _check('stem', stem, ('cifar', 'imagenet'))
        _check('learn', learn, (None, 'mu', 'k'))
        _check('projection', projection, ('bare', 'preact', 'shared'))
        _check('start_projection', start_projection, (None, 'bare', 'preact', 'shared', 'preact-raw'))
        _check('output_stride', output_stride, (1, 2, 4, 8, 16, 32) if stem == 'cifar' else (4, 8, 16, 32))
        if not layers or len(layers) != len(widths) or min(layers) < 1:
            raise ValueError(
                f'layers={layers!r}, widths={widths!r}: accepted are as many of the one as of the other, and at least '
                'one block in each stage'
            )
        _check_num_classes(num_classes)
        _check_rate('drop_rate', drop_rate)
        _check_rate('drop_path_rate', drop_path_rate)
        if (lambda_init is not None or constrain_mu) and learn != 'mu':
            raise ValueError(
                f"lambda_init={lambda_init!r}, constrain_mu={constrain_mu}: accepted with learn='mu' only "
                '(the models whose names end in _tra)'
            )
        if method is not None and learn:
            raise ValueError(f'method={method!r}: accepted is none beside learn={learn!r}, which has its own')
        if learn == 'mu':
            method = zerosnet(1 if lambda_init is None else lambda_init)
        elif learn == 'k':
            method = parse_method('lm(1.05)')
        else:
            method = parse_method('zerosnet-opt' if method is None else method)
        if method.b[0] == 0:
            raise ValueError(f'{method}: b[0] is 0, the last branch would have no effect; accepted: any other b[0]')
        if max(map(abs, (*method.a, *method.b))) > LARGEST:
            raise ValueError(f'{method}: accepted are coefficients up to {LARGEST:.3g}, the largest number of float32')
        if method.steps > sum(layers):
            raise ValueError(
                f'{method} has {method.steps} steps: the first {method.steps - 1} blocks are Euler steps, and '
                f'layers={tuple(layers)} are {sum(layers)} blocks; accepted are at most {sum(layers)} steps'
            )
        if learn != 'k' and not constrain_mu and not (method.is_zero_stable and method.is_consistent):
            warnings.warn(f'{method} is {method.verdict}{_growth(method)}', ZeroStabilityWarning, stacklevel=2)
        self.method: Any = method
        self.num_classes = num_classes
        self.in_chans = in_chans
        self.drop_rate = drop_rate
        self.stem_type = stem
        norm_act = get_norm_act_layer(norm_layer, act_layer)

        self.stem = Stem(in_chans, widths[0], stem, norm_act, **dd)
        self.pool = nn.Identity() if stem == 'cifar' else nn.MaxPool2d(3, 2, 1)
        first_level = dict(num_chs=widths[0], reduction=1 if stem == 'cifar' else 2, module='stem')
        self.feature_info: List[Dict[str, Any]] = [first_level]
        self.stages = nn.ModuleList()
        self._make_stages(
            layers,
            widths,
            BLOCKS[block],
            method,
            learn,
            constrain_mu,
            projection,
            start_projection or projection,
            euler_at_projection,
            output_stride,
            norm_act,
            drop_path_rate,
            **dd,
        )
        self.num_features = self.feature_info[-1]['num_chs']
        self.norm = norm_act(self.num_features, **dd) if stem == 'cifar' else nn.Identity()
        self.head = ClassifierHead(self.num_features, num_classes, pool_type=global_pool, drop_rate=drop_rate, **dd)
        self.head_hidden_size = self.num_features * self.head.global_pool.feat_mult()
        self.init_weights()

    def _make_stages(
        self,
        layers,
        widths,
        block_cls,
        method: MultistepMethod,
        learn,
        constrain_mu,
        projection,
        start_projection,
        euler_at_projection,
        output_stride,
        norm_act,
        drop_path_rate,
        **dd,
    ) -> None:
        chs, reduction, dilation = widths[0], 1 if self.stem_type == 'cifar' else 4, 1
        shapes = []  # in_chs, out_chs, stride, dilations of each block
        for s, (depth, width) in enumerate(zip(layers, widths, strict=True)):
            stride, before = 1 if s == 0 else 2, dilation
            if reduction * stride > output_stride:
                dilation, stride = dilation * stride, 1
            reduction *= stride
            out_chs = width * block_cls.expansion
            shapes += [(chs, out_chs, stride, (before, dilation))] + [(out_chs, out_chs, 1, (dilation, dilation))] * (
                depth - 1
            )
            self.feature_info.append(dict(num_chs=out_chs, reduction=reduction, module=f'stages.{s}'))
            chs = out_chs

        first_of_stage = {sum(layers[:s]) for s in range(len(layers))}
        crosses = [i in first_of_stage and (i > 0 or shapes[0][0] != shapes[0][1]) for i in range(len(shapes))]
        terms = {'mu': 3, 'k': 2}.get(learn, method.steps)
        euler = [i < terms - 1 or (euler_at_projection and crosses[i]) for i in range(len(shapes))]
        state_terms = [i for i in range(terms) if learn or method.a[i]]
        slope_terms = [] if learn else [j for j, c in enumerate(method.b[1:]) if c]
        uses_state = [[0] if e else state_terms for e in euler]
        uses_slope = [[] if e else slope_terms for e in euler]
        live_states, live_slopes = _live(uses_state), _live(uses_slope)
        drop_rates = calculate_drop_path_rates(drop_path_rate, len(shapes))

        blocks: List[MultistepBlock] = []
        raw = -1  # offset of the stem's output while the history keeps it unprojected
        for i, (in_chs, out_chs, stride, dilations) in enumerate(shapes):
            newest = (start_projection if i == 0 else projection) if crosses[i] else 'none'
            wanted = live_states[i] if crosses[i] else {raw} & set(uses_state[i])
            state_proj = [
                make_projection(
                    newest.split('-')[0] if s == 0 else 'bare',
                    shapes[0][0] if s == raw else in_chs,
                    out_chs,
                    stride,
                    norm_act,
                    **dd,
                )
                if s in wanted
                else nn.Identity()
                for s in range(max(wanted, default=-1) + 1)
            ]
            slope_proj = [
                make_projection('bare', in_chs, out_chs, stride, norm_act, **dd)
                if crosses[i] and j in live_slopes[i]
                else nn.Identity()
                for j in range(max(live_slopes[i], default=-1) + 1)
            ]
            if euler[i]:
                step: nn.Module = FixedStep([1], [1], bool(slope_terms))
            elif learn == 'mu':
                step = ZeroSNetStep(-float(method.a[1]), constrain_mu, **dd)
            elif learn == 'k':
                step = LMStep(**dd)
            else:
                step = FixedStep(method.a, method.b, bool(slope_terms))
            blocks.append(
                block_cls(
                    in_chs,
                    out_chs,
                    stride,
                    dilations,
                    norm_act,
                    step=step,
                    state_proj=state_proj,
                    slope_proj=slope_proj,
                    shares_preact=newest == 'shared',
                    keeps_raw=newest == 'preact-raw',
                    keep=(max(live_states[i + 1], default=0), max(live_slopes[i + 1], default=-1) + 1),
                    drop_path=drop_rates[i],
                    **dd,
                )
            )
            if newest == 'preact-raw':
                raw = 0
            elif raw in wanted or raw not in live_states[i]:
                raw = -1
            if raw >= 0:
                raw += 1
        for s, depth in enumerate(layers):
            self.stages.append(MultistepStage(blocks[sum(layers[:s]) :][:depth]))

    def init_weights(self) -> None:
        """Convolutions N(0, 2 / (k k out)), which is kaiming fan_out; norms 1 and 0; steps as in their papers."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0, math.sqrt(2 / (math.prod(module.kernel_size) * module.out_channels)))
            elif isinstance(module, (ZeroSNetStep, LMStep)):
                module.init_weights()
            elif hasattr(module, 'reset_parameters'):  # norms, the classifier
                module.reset_parameters()

    @torch.jit.ignore
    def no_weight_decay(self) -> set:
        """The steps' scalars: weight decay would drive lambda or k to where nobody wants them."""
        return {name for name, _ in self.named_parameters() if name.endswith(('.step.mu', '.step.k'))}

    @torch.jit.ignore
    def group_matcher(self, coarse: bool = False) -> Dict[str, Any]:
        return dict(
            stem=r'^stem',
            blocks=r'^stages\.(\d+)'
            if coarse
            else [
                (r'^stages\.(\d+)\.blocks\.(\d+)', None),
                (r'^norm', (99999,)),
            ],
        )

    @torch.jit.ignore
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        for stage in self.stages:
            stage.grad_checkpointing = enable

    @torch.jit.ignore
    def get_classifier(self) -> nn.Module:
        return self.head.fc

    def reset_classifier(self, num_classes: int, global_pool: Optional[str] = None) -> None:
        """Give the network a new classifier; where that is refused, it stays as it was.

        Args:
            num_classes: Width of the classifier, 0 for none.
            global_pool: timm's pooling type, default: that of now.

        Raises:
            ValueError: for a negative number of classes.
        """
        _check_num_classes(num_classes)
        self.head.reset(num_classes, global_pool)
        self.num_classes = num_classes
        like = self.stem.conv.weight
        self.head.to(device=like.device, dtype=like.dtype).train(self.training)
        self.head_hidden_size = self.num_features * self.head.global_pool.feat_mult()

    def forward_intermediates(
        self,
        x: Tensor,
        indices: Optional[Union[int, List[int]]] = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = 'NCHW',
        intermediates_only: bool = False,
    ) -> Union[List[Tensor], Tuple[Tensor, List[Tensor]]]:
        """Feature maps of the stem (level 0) and of each stage.

        Args:
            x: Images, (N, in_chans, H, W).
            indices: Levels to return, in this order; an int is the last n, None all, negative ones count from the end.
            norm: Apply the final norm to the last level.
            stop_early: Stop after the last level that is asked for.
            output_fmt: 'NCHW', the only one.
            intermediates_only: Return the list alone, not ``(final features, list)``.

        Raises:
            ValueError: for a level that does not exist or another format.
        """
        if output_fmt != 'NCHW':
            raise ValueError(f'output_fmt={output_fmt}: accepted is NCHW')
        take = _take_indices(len(self.stages) + 1, indices)
        x = self.stem(x)
        levels = [x]
        states: List[Tensor] = [self.pool(x)]
        slopes: List[Tensor] = []
        for s, stage in enumerate(self.stages):
            if not (stop_early and s >= max(take)):
                states, slopes = stage(states, slopes)
                levels.append(states[0])
        final = states[0]
        if len(levels) == len(self.stages) + 1:
            final = self.norm(final)  # the norm follows the last stage alone
            if norm:
                levels[-1] = final
        chosen: List[Tensor] = []
        for i in take:
            chosen.append(levels[i])
        if intermediates_only:
            return chosen
        return final, chosen

    def prune_intermediate_layers(
        self, indices: Union[int, List[int]] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> List[int]:
        """Drop the stages, norm and head that the levels ``indices`` do not need; returns the levels."""
        take = _take_indices(len(self.stages) + 1, indices)
        last = max(take)
        if prune_norm or last < len(self.stages):
            self.norm = nn.Identity()  # it fits the last stage alone
        if prune_head or last < len(self.stages):
            self.num_features = self.feature_info[last]['num_chs']
            self.head = ClassifierHead(self.num_features, 0, pool_type='', drop_rate=self.drop_rate).train(
                self.training
            )
            self.reset_classifier(0)
        self.stages = self.stages[:last]
        if last == 0:
            self.pool = nn.Identity()  # the level is the stem's output before pooling
        return take

    def forward_features(self, x: Tensor) -> Tensor:
        """(N, in_chans, H, W) to (N, num_features, h, w)."""
        states: List[Tensor] = [self.pool(self.stem(x))]
        slopes: List[Tensor] = []
        for stage in self.stages:
            states, slopes = stage(states, slopes)
        return self.norm(states[0])

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        return self.head(x, pre_logits=pre_logits)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))


def _take_indices(count: int, indices: Optional[Union[int, List[int]]]) -> List[int]:
    if indices is None:
        indices = count
    if isinstance(indices, int):
        if not 0 < indices <= count:
            raise ValueError(f'indices={indices}: there are {count} feature levels, accepted is 1 to {count}')
        indices = list(range(count - indices, count))
    if len(indices) == 0:
        raise ValueError(f'indices={indices}: there are {count} feature levels, accepted is at least one')
    for i in indices:
        if not -count <= i < count:
            raise ValueError(
                f'feature level {i} does not exist: there are {count}, accepted is {-count} to {count - 1}'
            )
    return [i + count if i < 0 else i for i in indices]


def _growth(method: MultistepMethod) -> str:
    radius = method.spectral_radius
    if radius <= 1 + 1e-9:
        return ''
    blocks = math.log(torch.finfo(torch.float32).max) / math.log(radius)
    return f'. The states grow {radius:.4f}-fold in each block and overflow float32 after about {blocks:.0f} blocks'


def _check(name: str, value, accepted) -> None:
    if value not in accepted:
        raise ValueError(f'{name}={value!r}: accepted is {", ".join(map(repr, accepted))}')


def _check_num_classes(num_classes: int) -> None:
    if num_classes < 0:
        raise ValueError(f'num_classes={num_classes}: expected an integer >= 0, 0 for no classifier')


def _check_rate(name: str, value: float) -> None:
    if not 0 <= value < 1:
        raise ValueError(f'{name}={value!r}: accepted is 0 <= {name} < 1')
