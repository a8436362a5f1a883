"""The zoo: which networks there are, as numbers only.

A model is a depth in ``DEPTHS``, a family in ``FAMILIES`` and a function that joins them; how they are built is in
``multistep_resnet``, their weights in ``weights/manifest.json``.
"""

from __future__ import annotations

from typing import Any

import torch
from timm.models import PretrainedCfg, build_model_with_cfg, generate_default_cfgs, resolve_pretrained_cfg

from . import weights
from .checkpoint import checkpoint_filter_fn
from .cifar import DATA_SETS, cifar_config
from .multistep_resnet import MultistepResNet
from .pretrained_arguments import refuse_other_function, warn_of_arguments
from .registry import register_all, register_model


def _cifar(block: str, n: int) -> dict[str, Any]:
    return dict(stem='cifar', block=block, layers=(n, n, n), widths=(16, 32, 64))


def _imagenet(block: str, *layers: int) -> dict[str, Any]:
    return dict(stem='imagenet', block=block, layers=layers, widths=(64, 128, 256, 512))


DEPTHS: dict[int, dict[str, Any]] = {
    20: _cifar('basic', 3),
    32: _cifar('basic', 5),
    44: _cifar('basic', 7),
    56: _cifar('basic', 9),
    110: _cifar('basic', 18),
    164: _cifar('bottleneck', 18),
    326: _cifar('bottleneck', 36),
    650: _cifar('bottleneck', 72),
    1298: _cifar('bottleneck', 144),
    18: _imagenet('basic', 2, 2, 2, 2),
    34: _imagenet('basic', 3, 4, 6, 3),
    50: _imagenet('bottleneck', 3, 4, 6, 3),
    101: _imagenet('bottleneck', 3, 4, 23, 3),
    152: _imagenet('bottleneck', 3, 8, 36, 3),
}

FAMILIES: dict[str, dict[str, dict[str, Any]]] = {
    'zerosnet': dict(
        cifar=dict(method='zerosnet-opt', start_projection='preact-raw'),
        imagenet=dict(method='zerosnet-opt', projection='shared'),
    ),
    'zerosnet_tra': dict(
        cifar=dict(learn='mu', lambda_init=1, start_projection='preact-raw'),
        imagenet=dict(learn='mu', lambda_init='-9/5', projection='shared'),
    ),
    'preresnet': dict(
        cifar=dict(method='euler', projection='preact'), imagenet=dict(method='euler', projection='shared')
    ),
    'lmresnet': dict(
        cifar=dict(learn='k', projection='preact', euler_at_projection=True),
        imagenet=dict(learn='k', projection='shared', euler_at_projection=True),
    ),
    'multistep_resnet': dict(cifar=dict(method='zerosnet-opt', projection='bare')),
}


def _cfg(**kwargs) -> dict[str, Any]:
    return dict(
        first_conv='stem.conv',
        classifier='head.fc',
        license='apache-2.0',
        paper_ids='arXiv:2206.13100',
        paper_name='Zero Stability Well Predicts Performance of Convolutional Neural Networks',
        origin_url='https://github.com/LongJin-lab/ZeroSNet',
        **kwargs,
    )


def _cfgs(name: str, depth: int) -> dict[str, dict[str, Any]]:
    """One row for each tag; cifar10 is the default, whichever weights exist."""
    if DEPTHS[depth]['stem'] == 'imagenet':
        return {name: _cfg(input_size=(3, 224, 224), pool_size=(7, 7), crop_pct=0.875, interpolation='bilinear')}
    tags = [*DATA_SETS, *(tag for tag in weights.weight_tags(name) if tag not in DATA_SETS)]
    return {
        f'{name}.{tag}{"*" if tag == "cifar10" else ""}': _cfg(
            min_input_size=(3, 8, 8),
            pool_size=(8, 8),
            file=weights.weight_file(f'{name}.{tag}'),
            **cifar_config(tag),
        )
        for tag in tags
    }


def _create(family: str, depth: int, pretrained: bool, kwargs: dict[str, Any]) -> MultistepResNet:
    name = family.removesuffix('_tra') + str(depth) + ('_tra' if family.endswith('_tra') else '')
    cfg = _config(name, kwargs)
    shape = DEPTHS[depth]
    network = {**shape, **FAMILIES[family][shape['stem']]}
    # of a model from the Hub, timm hands on what its weights were made with
    trained = {**network, **(kwargs.get('pretrained_model_args') or {})}
    if pretrained:
        weights.check_source(name, cfg)
        _refuse_meta(kwargs.get('device'))
        if family != 'multistep_resnet':  # which has no weights but the caller's
            refuse_other_function(name, kwargs, trained)
    feature_cfg = dict(out_indices=tuple(range(len(shape['layers']) + 1)), feature_cls='getter')
    feature_cfg.update(kwargs.pop('feature_cfg', {}))
    feature_cls = kwargs.get('feature_cls', feature_cfg['feature_cls'])
    kind = feature_cls.lower() if isinstance(feature_cls, str) else getattr(feature_cls, '__name__', None)
    if kwargs.get('features_only') and kind not in ('getter', 'fx', 'FeatureGetterNet', 'FeatureGraphNet'):
        raise ValueError(
            f"feature_cls={feature_cls!r}: accepted are 'getter', the default, and 'fx'; a state is not one tensor"
        )
    try:
        model = build_model_with_cfg(
            MultistepResNet,
            name,
            pretrained,
            pretrained_filter_fn=checkpoint_filter_fn,
            feature_cfg=feature_cfg,
            **{**network, **kwargs},
        )
    except weights.WeightError as error:
        source = 'state_dict' if cfg.state_dict else cfg.file or cfg.url or cfg.hf_hub_id
        raise weights.WeightError(f'{source}: {error}') from error
    warn_of_arguments(name, kwargs, trained, pretrained, model)
    return model


def _config(name: str, kwargs: dict[str, Any]) -> PretrainedCfg:
    try:
        return resolve_pretrained_cfg(name, kwargs.get('pretrained_cfg'), kwargs.get('pretrained_cfg_overlay'))
    except RuntimeError as error:  # an unknown tag
        tags = ', '.join(f'{name}.{tag}' for tag in default_cfgs[name].cfgs if tag)
        with_weights = ', '.join(f'{name}.{tag}' for tag in weights.weight_tags(name)) or 'none'
        advice = f'Expected one of {tags}; with weights: {with_weights}.' if tags else weights.no_tags(name)
        raise weights.WeightError(f'{error} {advice}') from error


def _refuse_meta(device: Any) -> None:
    if torch.empty(0, device=device).is_meta:
        raise weights.WeightError(
            "pretrained=True leaves a network on the device 'meta' without values: expected another device, such as "
            "device='cpu'. Or make it there without pretrained=True, then call model.load_state_dict(WEIGHTS, "
            'assign=True)'
        )


default_cfgs = generate_default_cfgs(
    {
        **_cfgs('zerosnet20', 20),
        **_cfgs('zerosnet32', 32),
        **_cfgs('zerosnet44', 44),
        **_cfgs('zerosnet56', 56),
        **_cfgs('zerosnet110', 110),
        **_cfgs('zerosnet164', 164),
        **_cfgs('zerosnet326', 326),
        **_cfgs('zerosnet650', 650),
        **_cfgs('zerosnet1298', 1298),
        **_cfgs('zerosnet18', 18),
        **_cfgs('zerosnet34', 34),
        **_cfgs('zerosnet50', 50),
        **_cfgs('zerosnet101', 101),
        **_cfgs('zerosnet152', 152),
        **_cfgs('zerosnet20_tra', 20),
        **_cfgs('zerosnet32_tra', 32),
        **_cfgs('zerosnet44_tra', 44),
        **_cfgs('zerosnet56_tra', 56),
        **_cfgs('zerosnet110_tra', 110),
        **_cfgs('zerosnet164_tra', 164),
        **_cfgs('zerosnet326_tra', 326),
        **_cfgs('zerosnet650_tra', 650),
        **_cfgs('zerosnet1298_tra', 1298),
        **_cfgs('zerosnet18_tra', 18),
        **_cfgs('zerosnet34_tra', 34),
        **_cfgs('zerosnet50_tra', 50),
        **_cfgs('zerosnet101_tra', 101),
        **_cfgs('zerosnet152_tra', 152),
        **_cfgs('preresnet20', 20),
        **_cfgs('preresnet32', 32),
        **_cfgs('preresnet44', 44),
        **_cfgs('preresnet56', 56),
        **_cfgs('preresnet110', 110),
        **_cfgs('preresnet164', 164),
        **_cfgs('preresnet18', 18),
        **_cfgs('preresnet34', 34),
        **_cfgs('preresnet50', 50),
        **_cfgs('preresnet101', 101),
        **_cfgs('preresnet152', 152),
        **_cfgs('lmresnet20', 20),
        **_cfgs('lmresnet32', 32),
        **_cfgs('lmresnet44', 44),
        **_cfgs('lmresnet56', 56),
        **_cfgs('lmresnet110', 110),
        **_cfgs('lmresnet164', 164),
        **_cfgs('lmresnet18', 18),
        **_cfgs('lmresnet34', 34),
        **_cfgs('lmresnet50', 50),
        **_cfgs('lmresnet101', 101),
        **_cfgs('lmresnet152', 152),
        **_cfgs('multistep_resnet20', 20),
        **_cfgs('multistep_resnet32', 32),
        **_cfgs('multistep_resnet44', 44),
        **_cfgs('multistep_resnet56', 56),
        **_cfgs('multistep_resnet110', 110),
        **_cfgs('multistep_resnet164', 164),
    }
)


@register_model
def zerosnet20(pretrained: bool = False, **kwargs) -> MultistepResNet:
    return _create('zerosnet', 20, pretrained, kwargs)


@register_model
def zerosnet32(pretrained: bool = False, **kwargs) -> MultistepResNet:
    return _create('zerosnet', 32, pretrained, kwargs)


@register_model
def zerosnet44(pretrained: bool = False, **kwargs) -> MultistepResNet:
    return _create('zerosnet', 44, pretrained, kwargs)


@register_model
def zerosnet56(pretrained: bool = False, **kwargs) -> MultistepResNet:
    return _create('zerosnet', 56, pretrained, kwargs)


@register_model
def zerosnet110(pretrained: bool = False, **kwargs) -> MultistepResNet:
    return _create('zerosnet', 110, pretrained, kwargs)


@register_model
def zerosnet164(pretrained: bool = False, **kwargs) -> MultistepResNet:
    return _create('zerosnet', 164, pretrained, kwargs)


@register_model
def zerosnet326(pretrained: bool = False, **kwargs) -> MultistepResNet:
    return _create('zerosnet', 326, pretrained, kwargs)


@register_model
def zerosnet650(pretrained: bool = False, **kwargs) -> MultistepResNet:
    return _create('zerosnet', 650, pretrained, kwargs)


@register_model
def zerosnet1298(pretrained: bool = False, **kwargs) -> MultistepResNet:
    return _create('zerosnet', 1298, pretrained, kwargs)


@register_model
def zerosnet18(pretrained: bool = False, **kwargs) -> MultistepResNet:
    return _create('zerosnet', 18, pretrained, kwargs)


@register_model
def zerosnet34(pretrained: bool = False, **kwargs) -> MultistepResNet:
    return _create('zerosnet', 34, pretrained, kwargs)


@register_model
def zerosnet50(pretrained: bool = False, **kwargs) -> MultistepResNet:
    return _create('zerosnet', 50, pretrained, kwargs)


@register_model
def zerosnet101(pretrained: bool = False, **kwargs) -> MultistepResNet:
    return _create('zerosnet', 101, pretrained, kwargs)


@register_model
def zerosnet152(pretrained: bool = False, **kwargs) -> MultistepResNet:
    return _create('zerosnet', 152, pretrained, kwargs)


@register_model
def zerosnet20_tra(pretrained: bool = False, **kwargs) -> MultistepResNet:
    return _create('zerosnet_tra', 20, pretrained, kwargs)


@register_model
def zerosnet32_tra(pretrained: bool = False, **kwargs) -> MultistepResNet:
    return _create('zerosnet_tra', 32, pretrained, kwargs)


@register_model
def zerosnet44_tra(pretrained: bool = False, **kwargs) -> MultistepResNet:
    return _create('zerosnet_tra', 44, pretrained, kwargs)


@register_model
def zerosnet56_tra(pretrained: bool = False, **kwargs) -> MultistepResNet:
    return _create('zerosnet_tra', 56, pretrained, kwargs)


@register_model
def zerosnet110_tra(pretrained: bool = False, **kwargs) -> MultistepResNet:
    return _create('zerosnet_tra', 110, pretrained, kwargs)


@register_model
def zerosnet164_tra(pretrained: bool = False, **kwargs) -> MultistepResNet:
    return _create('zerosnet_tra', 164, pretrained, kwargs)


@register_model
def zerosnet326_tra(pretrained: bool = False, **kwargs) -> MultistepResNet:
    return _create('zerosnet_tra', 326, pretrained, kwargs)


@register_model
def zerosnet650_tra(pretrained: bool = False, **kwargs) -> MultistepResNet:
    return _create('zerosnet_tra', 650, pretrained, kwargs)


@register_model
def zerosnet1298_tra(pretrained: bool = False, **kwargs) -> MultistepResNet:
    return _create('zerosnet_tra', 1298, pretrained, kwargs)


@register_model
def zerosnet18_tra(pretrained: bool = False, **kwargs) -> MultistepResNet:
    return _create('zerosnet_tra', 18, pretrained, kwargs)


@register_model
def zerosnet34_tra(pretrained: bool = False, **kwargs) -> MultistepResNet:
    return _create('zerosnet_tra', 34, pretrained, kwargs)


@register_model
def zerosnet50_tra(pretrained: bool = False, **kwargs) -> MultistepResNet:
    return _create('zerosnet_tra', 50, pretrained, kwargs)


@register_model
def zerosnet101_tra(pretrained: bool = False, **kwargs) -> MultistepResNet:
    return _create('zerosnet_tra', 101, pretrained, kwargs)


@register_model
def zerosnet152_tra(pretrained: bool = False, **kwargs) -> MultistepResNet:
    return _create('zerosnet_tra', 152, pretrained, kwargs)


@register_model
def preresnet20(pretrained: bool = False, **kwargs) -> MultistepResNet:
    return _create('preresnet', 20, pretrained, kwargs)


@register_model
def preresnet32(pretrained: bool = False, **kwargs) -> MultistepResNet:
    return _create('preresnet', 32, pretrained, kwargs)


@register_model
def preresnet44(pretrained: bool = False, **kwargs) -> MultistepResNet:
    return _create('preresnet', 44, pretrained, kwargs)


@register_model
def preresnet56(pretrained: bool = False, **kwargs) -> MultistepResNet:
    return _create('preresnet', 56, pretrained, kwargs)


@register_model
def preresnet110(pretrained: bool = False, **kwargs) -> MultistepResNet:
    return _create('preresnet', 110, pretrained, kwargs)


@register_model
def preresnet164(pretrained: bool = False, **kwargs) -> MultistepResNet:
    return _create('preresnet', 164, pretrained, kwargs)


@register_model
def preresnet18(pretrained: bool = False, **kwargs) -> MultistepResNet:
    return _create('preresnet', 18, pretrained, kwargs)


@register_model
def preresnet34(pretrained: bool = False, **kwargs) -> MultistepResNet:
    return _create('preresnet', 34, pretrained, kwargs)


@register_model
def preresnet50(pretrained: bool = False, **kwargs) -> MultistepResNet:
    return _create('preresnet', 50, pretrained, kwargs)


@register_model
def preresnet101(pretrained: bool = False, **kwargs) -> MultistepResNet:
    return _create('preresnet', 101, pretrained, kwargs)


@register_model
def preresnet152(pretrained: bool = False, **kwargs) -> MultistepResNet:
    return _create('preresnet', 152, pretrained, kwargs)


@register_model
def lmresnet20(pretrained: bool = False, **kwargs) -> MultistepResNet:
    return _create('lmresnet', 20, pretrained, kwargs)


@register_model
def lmresnet32(pretrained: bool = False, **kwargs) -> MultistepResNet:
    return _create('lmresnet', 32, pretrained, kwargs)


@register_model
def lmresnet44(pretrained: bool = False, **kwargs) -> MultistepResNet:
    return _create('lmresnet', 44, pretrained, kwargs)


@register_model
def lmresnet56(pretrained: bool = False, **kwargs) -> MultistepResNet:
    return _create('lmresnet', 56, pretrained, kwargs)


@register_model
def lmresnet110(pretrained: bool = False, **kwargs) -> MultistepResNet:
    return _create('lmresnet', 110, pretrained, kwargs)


@register_model
def lmresnet164(pretrained: bool = False, **kwargs) -> MultistepResNet:
    return _create('lmresnet', 164, pretrained, kwargs)


@register_model
def lmresnet18(pretrained: bool = False, **kwargs) -> MultistepResNet:
    return _create('lmresnet', 18, pretrained, kwargs)


@register_model
def lmresnet34(pretrained: bool = False, **kwargs) -> MultistepResNet:
    return _create('lmresnet', 34, pretrained, kwargs)


@register_model
def lmresnet50(pretrained: bool = False, **kwargs) -> MultistepResNet:
    return _create('lmresnet', 50, pretrained, kwargs)


@register_model
def lmresnet101(pretrained: bool = False, **kwargs) -> MultistepResNet:
    return _create('lmresnet', 101, pretrained, kwargs)


@register_model
def lmresnet152(pretrained: bool = False, **kwargs) -> MultistepResNet:
    return _create('lmresnet', 152, pretrained, kwargs)


@register_model
def multistep_resnet20(pretrained: bool = False, **kwargs) -> MultistepResNet:
    return _create('multistep_resnet', 20, pretrained, kwargs)


@register_model
def multistep_resnet32(pretrained: bool = False, **kwargs) -> MultistepResNet:
    return _create('multistep_resnet', 32, pretrained, kwargs)


@register_model
def multistep_resnet44(pretrained: bool = False, **kwargs) -> MultistepResNet:
    return _create('multistep_resnet', 44, pretrained, kwargs)


@register_model
def multistep_resnet56(pretrained: bool = False, **kwargs) -> MultistepResNet:
    return _create('multistep_resnet', 56, pretrained, kwargs)


@register_model
def multistep_resnet110(pretrained: bool = False, **kwargs) -> MultistepResNet:
    return _create('multistep_resnet', 110, pretrained, kwargs)


@register_model
def multistep_resnet164(pretrained: bool = False, **kwargs) -> MultistepResNet:
    return _create('multistep_resnet', 164, pretrained, kwargs)


register_all()
