"""The registered networks: each is a depth in ``DEPTHS`` and a family in ``FAMILIES``.

The class that they all are is in ``multistep_resnet``, their weights are listed in ``weights/manifest.json``.
"""

from __future__ import annotations

import functools
from typing import Any, Callable

import torch
from timm.models import PretrainedCfg, build_model_with_cfg, generate_default_cfgs, resolve_pretrained_cfg

from . import weights
from .checkpoint import checkpoint_filter_fn, made_with, training_arguments
from .cifar import DATA_SETS, cifar_config
from .multistep_resnet import MultistepResNet
from .pretrained_arguments import refuse_other_function, warn_of_arguments
from .registry import register_models


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

DEEPEST = (326, 650, 1298)  # these depths exist as zerosnet and zerosnet_tra alone


def _name(family: str, depth: int) -> str:
    return f'{family.removesuffix("_tra")}{depth}{"_tra" if family.endswith("_tra") else ""}'


NETWORKS = {
    _name(family, depth): (family, depth)
    for family, stems in FAMILIES.items()
    for depth, shape in DEPTHS.items()
    if shape['stem'] in stems and (depth not in DEEPEST or family.startswith('zerosnet'))
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
    """The configurations of a network by tag; cifar10 is the default, whichever weights exist."""
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


def network_arguments(name: str) -> dict[str, Any]:
    """The arguments that make a network of this package, which is named without tag, out of ``MultistepResNet``."""
    family, depth = NETWORKS[name]
    return {**DEPTHS[depth], **FAMILIES[family][DEPTHS[depth]['stem']]}


def _create(name: str, pretrained: bool, kwargs: dict[str, Any]) -> MultistepResNet:
    overlay = kwargs.get('pretrained_cfg_overlay')
    if overlay and not overlay.keys() & {'file', 'state_dict'} and (overlay.get('url') or overlay.get('hf_hub_id')):
        # timm takes a file before a URL, and the Hub before it
        kwargs['pretrained_cfg_overlay'] = {'file': None, 'hf_hub_id': None, **overlay}
    cfg = _config(name, kwargs)
    network = network_arguments(name)
    if kwargs.get('learn', 'mu') != 'mu':
        network.pop('lambda_init', None)  # the family's, which other coefficients do not have
    # of a model from the Hub, timm hands on the arguments that its weights were made with
    told = kwargs.get('pretrained_model_args') or None
    if pretrained:
        weights.check_source(name, cfg)
        _refuse_meta(kwargs.get('device'))
        if file := weights.own_file(name, cfg):
            told = made_with(training_arguments(file, name))
    trained = {**network, **(told or {})}
    any_method = name.startswith('multistep_resnet') and told is None
    if pretrained and not any_method:
        refuse_other_function(name, kwargs, network, trained)
    feature_cfg = _feature_cfg(len(kwargs.get('layers') or network['layers']) + 1, kwargs)
    without_classifier = functools.partial(checkpoint_filter_fn, classifier=False)
    try:
        model = build_model_with_cfg(
            MultistepResNet,
            name,
            pretrained,
            pretrained_filter_fn=without_classifier if kwargs.get('features_only') else checkpoint_filter_fn,
            feature_cfg=feature_cfg,
            **{**network, **kwargs},
        )
    except weights.WeightError as error:
        source = 'state_dict' if cfg.state_dict else cfg.file or cfg.url or cfg.hf_hub_id
        raise weights.WeightError(f'{source}: {error}') from error
    warn_of_arguments(name, kwargs, network, trained, pretrained, model)
    return model


def _feature_cfg(levels: int, kwargs: dict[str, Any]) -> dict[str, Any]:
    """What ``features_only`` asks for; takes ``feature_cfg`` out of the arguments."""
    feature_cfg = dict(out_indices=tuple(range(levels)), feature_cls='getter')
    feature_cfg.update(kwargs.pop('feature_cfg', {}))
    feature_cls = kwargs.get('feature_cls', feature_cfg['feature_cls'])
    kind = feature_cls.lower() if isinstance(feature_cls, str) else getattr(feature_cls, '__name__', None)
    if kwargs.get('features_only') and kind not in ('getter', 'fx', 'FeatureGetterNet', 'FeatureGraphNet'):
        raise ValueError(
            "feature_cls: expected 'getter', the default, or 'fx', because a block hands on a list of states and not "
            f'one tensor, got {feature_cls!r}'
        )
    return feature_cfg


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
    {tag: cfg for name, (_, depth) in NETWORKS.items() for tag, cfg in _cfgs(name, depth).items()}
)


def _entry_point(name: str) -> Callable[..., MultistepResNet]:
    """The function that makes a network, a member of this module as timm and pickle expect it."""

    def create(pretrained: bool = False, **kwargs) -> MultistepResNet:
        return _create(name, pretrained, kwargs)

    create.__name__ = create.__qualname__ = name
    return create


globals().update({name: _entry_point(name) for name in NETWORKS})
register_models(globals()[name] for name in NETWORKS)
