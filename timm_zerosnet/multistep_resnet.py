"""Residual networks whose skip connections are a linear multistep method.

A block computes its slope ``f(x[n])`` with a pre-activation branch, updates the state by its method,
``x[n+1] = sum_i a[i] x[n-i] + sum_j b[j] f(x[n-j])``, and hands the history on. The first k - 1 blocks of a method with
k terms are Euler steps. ``history.py`` plans what each block reads and hands on; here the plans become modules.

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
from dataclasses import dataclass
from typing import Any, Callable, Collection, Dict, Iterable, List, Optional, Sequence, Tuple, Union, cast

import torch
from timm.layers import ClassifierHead, calculate_drop_path_rates, get_norm_act_layer
from torch import Tensor, nn

from .blocks import BLOCKS, MultistepBlock, MultistepStage, Stem, make_projection
from .history import BlockPlan, plan_history
from .methods import MethodLike, parse_method, zerosnet
from .multistep import MultistepMethod, ZeroStabilityWarning
from .steps import FixedStep, LMStep, Step, ZeroSNetStep

__all__ = ['MultistepResNet']

LayerType = Union[str, Callable, type]
LARGEST_FLOAT32 = torch.finfo(torch.float32).max


@dataclass(frozen=True)
class StageSpec:
    """What a network's stages are built from: the arguments of ``MultistepResNet``, with the method already chosen."""

    layers: Tuple[int, ...]
    widths: Tuple[int, ...]
    block: str
    stem: str
    method: MultistepMethod
    learn: Optional[str]
    constrain_mu: bool
    projection: str
    start_projection: str
    euler_at_projection: bool
    output_stride: int


@dataclass(frozen=True)
class BlockShape:
    """Channels and geometry of a block; ``changes`` says whether its history must be projected."""

    in_chs: int
    out_chs: int
    stride: int
    dilations: Tuple[int, int]
    changes: bool


class MultistepResNet(nn.Module):
    """A residual network with linear multistep skip connections.

    Args:
        layers: Number of blocks in each stage, at least one.
        widths: Width of each stage, before the expansion (4) of a bottleneck.
        block: ``'basic'`` or ``'bottleneck'``.
        stem: ``'cifar'`` (conv3x3, final norm, any input size) or ``'imagenet'`` (conv7x7/2 and pooling, no
            final norm).
        method: A ``MultistepMethod`` or its name, see ``parse_method``; by default ``'zerosnet-opt'``. A method that is
            not zero-stable or not consistent gives one ``ZeroStabilityWarning``.
        learn: ``'mu'`` to learn ZeroSNet's 1 / lambda in each block, ``'k'`` to learn LM-ResNet's k. Either brings its
            own method, and ``method`` is refused.
        projection: How the newest state is projected where width or stride change: ``'bare'`` conv1x1, ``'preact'``
            BN-ReLU-conv1x1, ``'shared'`` conv1x1 of the block's relu(bn1(x)). Older states always have a bare conv1x1.
        start_projection: How a bottleneck's block 0 projects the stem's output, by default as ``projection`` says.
            ``'preact-raw'`` is ``'preact'`` for that step alone, while the history keeps the stem's output as it is.
        euler_at_projection: Whether to take an Euler step where the newest state is projected.
        lambda_init: Initial lambda with ``learn='mu'``, not 0; by default 1.
        constrain_mu: With ``learn='mu'``, whether the mu that a block uses is kept in the zero-stable interval [-1, 3).
        num_classes: Width of the classifier, 0 for none.
        in_chans: Number of input channels.
        global_pool: timm's pooling type, ``''`` for none.
        output_stride: Largest reduction, a power of two; strides beyond it become dilations.
        act_layer: Activation, as a timm layer name or a class.
        norm_layer: Norm, as a timm layer name or a class.
        drop_rate: Dropout rate before the classifier, in [0, 1).
        drop_path_rate: Rate of stochastic depth in the last block, in [0, 1); it rises linearly from 0. A dropped slope
            is zero, in this step and where a method uses it again; a kept one is divided by its probability in both.
        device: Device of all parameters.
        dtype: Data type of all parameters.

    Shape:
        ``(N, in_chans, H, W)`` to ``(N, num_classes)``.

    Raises:
        ValueError: for a value outside of these ranges, or a method that gives the newest slope no weight.
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
        spec = StageSpec(
            layers=tuple(layers),
            widths=tuple(widths),
            block=block,
            stem=stem,
            method=_choose_method(method, learn, lambda_init, constrain_mu),
            learn=learn,
            constrain_mu=constrain_mu,
            projection=projection,
            start_projection=start_projection or projection,
            euler_at_projection=euler_at_projection,
            output_stride=output_stride,
        )
        _check_arguments(spec, num_classes, drop_rate, drop_path_rate)
        chosen = spec.method
        if learn != 'k' and not constrain_mu and not (chosen.is_zero_stable and chosen.is_consistent):
            warnings.warn(f'{chosen} is {chosen.verdict}{_growth(chosen)}', ZeroStabilityWarning, stacklevel=2)
        self.spec = spec
        self.method: Any = chosen
        self.num_classes = num_classes
        self.in_chans = in_chans
        self.drop_rate = drop_rate
        self.stem_type = stem
        dd: Dict[str, Any] = {'device': device, 'dtype': dtype}
        norm_act = get_norm_act_layer(norm_layer, act_layer)

        self.stem = Stem(in_chans, widths[0], stem, norm_act, **dd)
        self.pool = nn.Identity() if stem == 'cifar' else nn.MaxPool2d(3, 2, 1)
        first_level = dict(num_chs=widths[0], reduction=1 if stem == 'cifar' else 2, module='stem')
        self.feature_info: List[Dict[str, Any]] = [first_level, *_stage_info(spec)]
        self.stages = nn.ModuleList(_make_stages(spec, norm_act, drop_path_rate, **dd))
        self.num_features = self.feature_info[-1]['num_chs']
        self.norm = norm_act(self.num_features, **dd) if stem == 'cifar' else nn.Identity()
        self.head = ClassifierHead(self.num_features, num_classes, pool_type=global_pool, drop_rate=drop_rate, **dd)
        self.head_hidden_size = self.num_features * self.head.global_pool.feat_mult()
        self.init_weights()

    def init_weights(self) -> None:
        """Convolutions N(0, 2 / (k k out)), which is kaiming fan_out; norms 1 and 0; steps as in their papers."""
        for module in cast(Iterable[Any], self.modules()):
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0, math.sqrt(2 / (math.prod(module.kernel_size) * module.out_channels)))
            elif isinstance(module, (ZeroSNetStep, LMStep)):
                module.init_weights()
            elif hasattr(module, 'reset_parameters'):  # norms, the classifier
                module.reset_parameters()

    @torch.jit.ignore
    def no_weight_decay(self) -> set:
        """The learned scalars of the steps: weight decay would pull mu and k towards zero."""
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
        for stage in cast(Iterable[MultistepStage], self.stages):
            stage.grad_checkpointing = enable

    @torch.jit.ignore
    def get_classifier(self) -> nn.Module:
        return self.head.fc

    def reset_classifier(self, num_classes: int, global_pool: Optional[str] = None) -> None:
        """Give the network a new classifier. If an argument is refused, the network stays as it was.

        Args:
            num_classes: Width of the classifier, 0 for none.
            global_pool: timm's pooling type; by default the pooling stays.

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
            norm: Whether to apply the final norm to the last level.
            stop_early: Whether to stop after the last level that is asked for.
            output_fmt: The layout of the maps; 'NCHW' is the only one.
            intermediates_only: Whether to return the list alone, not ``(final features, list)``.

        Raises:
            ValueError: for a level that does not exist or another format.
        """
        if output_fmt != 'NCHW':
            raise ValueError(f"output_fmt: expected 'NCHW', got '{output_fmt}'")  # TorchScript has no !r
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
        """Drop all that the levels ``indices`` do not need: stages, projections, norm and head; returns the levels."""
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
        blocks = [block for stage in cast(Iterable[Any], self.stages) for block in stage.blocks]
        for block, plan in zip(blocks, _plan_blocks(self.spec, len(blocks)), strict=True):
            block.keep_only(plan)
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


def _choose_method(
    method: Optional[MethodLike], learn: Optional[str], lambda_init: Union[float, str, None], constrain_mu: bool
) -> MultistepMethod:
    """The method that the arguments ask for; of a learned one, that of its initial value."""
    _check_choice('learn', learn, (None, 'mu', 'k'))
    if learn != 'mu' and (lambda_init is not None or constrain_mu):
        raise ValueError(
            f"expected lambda_init and constrain_mu with learn='mu' only (the models whose names end in _tra), got "
            f'lambda_init={lambda_init!r}, constrain_mu={constrain_mu} with learn={learn!r}'
        )
    if learn and method is not None:
        raise ValueError(f'expected no method beside learn={learn!r}, which brings its own, got method={method!r}')
    if learn == 'mu':
        return zerosnet(1 if lambda_init is None else lambda_init)
    if learn == 'k':
        return parse_method('lm(1.05)')
    return parse_method('zerosnet-opt' if method is None else method)


def _check_arguments(spec: StageSpec, num_classes: int, drop_rate: float, drop_path_rate: float) -> None:
    _check_choice('block', spec.block, BLOCKS)
    _check_choice('stem', spec.stem, ('cifar', 'imagenet'))
    _check_choice('projection', spec.projection, ('bare', 'preact', 'shared'))
    _check_choice('start_projection', spec.start_projection, ('bare', 'preact', 'shared', 'preact-raw'))
    _check_choice('output_stride', spec.output_stride, [2**i for i in range(0 if spec.stem == 'cifar' else 2, 6)])
    _check_num_classes(num_classes)
    for name, rate in (('drop_rate', drop_rate), ('drop_path_rate', drop_path_rate)):
        if not 0 <= rate < 1:
            raise ValueError(f'{name}: expected 0 <= {name} < 1, got {rate!r}')
    if not spec.layers or len(spec.layers) != len(spec.widths) or min(spec.layers) < 1:
        raise ValueError(
            'expected as many layers as widths and at least one block in each stage, got '
            f'layers={spec.layers!r}, widths={spec.widths!r}'
        )
    method, blocks = spec.method, sum(spec.layers)
    if method.b[0] == 0:
        raise ValueError(
            f'expected a method whose b[0] is not 0, got {method}, whose b[0] is 0: the branch of the last block would '
            'have no effect'
        )
    if max(map(abs, (*method.a, *method.b))) > LARGEST_FLOAT32:
        raise ValueError(
            f'expected coefficients up to {LARGEST_FLOAT32:.3g}, the largest number of float32, got method {method}'
        )
    if method.steps > blocks:
        raise ValueError(
            f'expected a method of at most {blocks} steps, because layers={spec.layers} are {blocks} blocks, got '
            f'{method}, which has {method.steps} steps'
        )


def _check_choice(name: str, value: object, choices: Collection[object]) -> None:
    if value not in choices:
        raise ValueError(f'{name}: expected one of {", ".join(map(repr, choices))}, got {value!r}')


def _check_num_classes(num_classes: int) -> None:
    if num_classes < 0:
        raise ValueError(f'num_classes: expected an integer >= 0, where 0 is no classifier, got {num_classes}')


def _growth(method: MultistepMethod) -> str:
    radius = method.spectral_radius
    if radius <= 1 + 1e-9:
        return ''
    blocks = math.log(LARGEST_FLOAT32) / math.log(radius)
    return f'. The states grow {radius:.4f}-fold in each block and overflow float32 after about {blocks:.0f} blocks'


def _stage_info(spec: StageSpec) -> List[Dict[str, Any]]:
    """timm's ``feature_info`` of each stage."""
    chs = [width * BLOCKS[spec.block].expansion for width in spec.widths]
    reductions = [min(2**s * (1 if spec.stem == 'cifar' else 4), spec.output_stride) for s in range(len(chs))]
    return [
        dict(num_chs=num_chs, reduction=reduction, module=f'stages.{s}')
        for s, (num_chs, reduction) in enumerate(zip(chs, reductions, strict=True))
    ]


def _plan_shapes(spec: StageSpec) -> List[BlockShape]:
    """Each block's shape; past ``output_stride`` a stage has a dilation in place of its stride."""
    shapes: List[BlockShape] = []
    in_chs, before, dilation = spec.widths[0], 1 if spec.stem == 'cifar' else 4, 1
    for s, (depth, info) in enumerate(zip(spec.layers, _stage_info(spec), strict=True)):
        out_chs, reduction = info['num_chs'], info['reduction']
        stride = reduction // before
        first_dilation = dilation
        if s > 0 and stride == 1:
            dilation *= 2
        changes = s > 0 or in_chs != out_chs
        shapes.append(BlockShape(in_chs, out_chs, stride, (first_dilation, dilation), changes))
        shapes += [BlockShape(out_chs, out_chs, 1, (dilation, dilation), False)] * (depth - 1)
        in_chs, before = out_chs, reduction
    return shapes


def _plan_blocks(spec: StageSpec, count: Optional[int] = None) -> List[BlockPlan]:
    """What each block does with its history, if there are all blocks or the first ``count`` alone."""
    # of a learned method no coefficient may be left out, even where the initial one is zero
    a, b = {'mu': ((1, 1, 1), (1, 0, 0)), 'k': ((1, 1), (1, 0))}.get(spec.learn or '', (spec.method.a, spec.method.b))
    changes = [shape.changes for shape in _plan_shapes(spec)[:count]]
    return plan_history(a, b, changes, spec.euler_at_projection, spec.start_projection == 'preact-raw')


def _make_stages(spec: StageSpec, norm_act: Callable, drop_path_rate: float, **dd: Any) -> List[MultistepStage]:
    shapes, plans = _plan_shapes(spec), _plan_blocks(spec)
    rates = cast(List[float], calculate_drop_path_rates(drop_path_rate, len(shapes)))
    blocks: List[MultistepBlock] = []
    for i, (shape, plan) in enumerate(zip(shapes, plans, strict=True)):
        newest = spec.start_projection if i == 0 else spec.projection
        blocks.append(_make_block(spec, shape, plan, newest, norm_act, rates[i], **dd))
    ends = [sum(spec.layers[: s + 1]) for s in range(len(spec.layers))]
    return [MultistepStage(blocks[end - depth : end]) for end, depth in zip(ends, spec.layers, strict=True)]


def _make_block(
    spec: StageSpec, shape: BlockShape, plan: BlockPlan, newest: str, norm_act: Callable, drop_path: float, **dd: Any
) -> MultistepBlock:
    """The modules of one block.

    Args:
        spec: The network's stages.
        shape: The block's shape.
        plan: What the block does with its history.
        newest: How it projects the newest state, if it does; the others have a bare projection.
        norm_act: Makes a norm with its activation.
        drop_path: Probability with which a sample's slope is dropped.
        **dd: Device and dtype.
    """

    def project(kind: str, in_chs: int) -> nn.Module:
        return make_projection(kind, in_chs, shape.out_chs, shape.stride, norm_act, **dd)

    state_proj: List[nn.Module] = []
    for offset in range(max(plan.projects_states, default=-1) + 1):
        in_chs = spec.widths[0] if offset == plan.unprojected else shape.in_chs
        kind = newest.removesuffix('-raw') if offset == 0 else 'bare'
        state_proj.append(project(kind, in_chs) if offset in plan.projects_states else nn.Identity())
    slope_proj = [
        project('bare', shape.in_chs) if offset in plan.projects_slopes else nn.Identity()
        for offset in range(plan.old_slopes)
    ]
    return BLOCKS[spec.block](
        shape.in_chs,
        shape.out_chs,
        shape.stride,
        shape.dilations,
        norm_act,
        step=_make_step(spec, plan, **dd),
        state_proj=state_proj,
        slope_proj=slope_proj,
        shares_preact=shape.changes and newest == 'shared',
        keeps_raw=shape.changes and newest == 'preact-raw',
        keep=(plan.keep_states, plan.keep_slopes),
        drop_path=drop_path,
        **dd,
    )


def _make_step(spec: StageSpec, plan: BlockPlan, **dd: Any) -> Step:
    keeps_slopes = not spec.learn and any(spec.method.b[1:])
    if plan.is_euler:
        return FixedStep([1], [1], keeps_slopes)
    if spec.learn == 'mu':
        return ZeroSNetStep(-float(spec.method.a[1]), spec.constrain_mu, **dd)
    if spec.learn == 'k':
        return LMStep(**dd)
    return FixedStep(spec.method.a, spec.method.b, keeps_slopes)


def _take_indices(count: int, indices: Optional[Union[int, List[int]]]) -> List[int]:
    if indices is None:
        indices = count
    if isinstance(indices, int):
        if not 0 < indices <= count:
            raise ValueError(f'indices: there are {count} feature levels, expected 1 to {count} of them, got {indices}')
        indices = list(range(count - indices, count))
    if len(indices) == 0:
        raise ValueError(f'indices: there are {count} feature levels, expected at least one of them, got {indices}')
    for i in indices:
        if not -count <= i < count:
            raise ValueError(
                f'indices: there are {count} feature levels, expected numbers from {-count} to {count - 1}, got {i}'
            )
    return [i + count if i < 0 else i for i in indices]
