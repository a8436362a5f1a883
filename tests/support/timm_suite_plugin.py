"""pytest plugin: timm's own tests/test_models.py on our names instead of timm's.

Loaded with ``-p timm_suite_plugin`` in a process of its own, before the test file reads timm's model lists.
"""

import fnmatch

import pytest
import timm

import timm_zerosnet  # noqa: F401
from timm_zerosnet import weights

NAMES = ['zerosnet20', 'zerosnet50_tra', 'lmresnet20']
"""Between them they have both stems, both kinds of block, and every kind of step."""

# tests that take a model's name and are not run on ours, and why; tests that take none build a model of timm's
NOT_APPLICABLE = {
    'test_model_inference': 'compares with reference outputs that timm keeps on the Hub for its own test_* models',
    'test_model_default_cfgs_non_std': 'for models with token output; ours are standard',
    'test_pruned_efficientnet_in_chans': 'about pruned EfficientNets',
    'test_model_features_space2depth_reduction': 'about the EfficientNet-H stem',
    'test_pruned_features_torchscript': 'passes img_size, which convolutional models do not take',
    'test_prune_extra_blocks_stem_width': 'passes extra_blocks, an argument of EfficientNet',
    'test_prune_class_token_avg_pool': 'about class tokens',
    'test_catavgmax_unsupported': 'for models that cannot take concat pooling; ours can',
    'test_eval_refreshes_attention_bias_cache': 'about attention',
    'test_efficientvim_branch_features': 'passes arguments of EfficientViM',
    'test_forward_intermediates_stop_early_final_norm': 'compares a tap before the norm with one after it, which only '
    'models without a norm of one width can give',
    'test_features_only_grad_checkpointing_backward': "timm's FeatureGetterNet has no set_grad_checkpointing, for any "
    'model that uses it',
    'test_headless_checkpoint_reload': 'reads the checkpoint_filter_fn of timm modules by name',
    'test_mobile_model_fusion_features': 'needs fuse(), which our blocks do not have yet',
    'test_nfnet_stem_feature_consistency': 'about NFNet stems',
}
# whole groups of tests about one family of timm's
NOT_APPLICABLE_PREFIXES = ('test_swin_family_', 'test_relpos_', 'test_radio_', 'test_naflexvit', 'test_vit_classifier_')
# tests that fit the ImageNet-style networks alone, and why
IMAGENET_STYLE = ('zerosnet50_tra',)
NOT_FOR = {
    'test_model_features_output_stride': 'strides 8 and 16 exceed those of the 32-pixel networks',
    'test_resnetv2_stem_feature_odd_size': 'expects a stem of stride 2',
    'test_forward_after_prune_intermediate_layers': 'expects no norm after the last level',
}


def _excluded(name):
    return name in NOT_APPLICABLE or name.startswith(NOT_APPLICABLE_PREFIXES)


def _as_list(value):
    return [value] if isinstance(value, str) else list(value or [])


def _select(filters, exclude_filters, names):
    filters, exclude = _as_list(filters), _as_list(exclude_filters)
    kept = [n for n in names if not [f for f in filters if f] or any(fnmatch.fnmatch(n, f) for f in filters)]
    return [n for n in kept if not any(fnmatch.fnmatch(n, e) for e in exclude)]


def list_models(filter='', module='', pretrained=False, exclude_filters='', name_matches_cfg=False, include_tags=None):
    return list_pretrained(filter, exclude_filters) if pretrained else _select(filter, exclude_filters, NAMES)


def list_pretrained(filter='', exclude_filters=''):
    return _select(filter, exclude_filters, [n for n in weights.manifest() if n.split('.')[0] in NAMES])


timm.list_models, timm.list_pretrained = list_models, list_pretrained


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc):
    """Run the tests that timm wrote for a few models of its own on ours too."""
    name = metafunc.function.__name__
    if _excluded(name):
        return
    for i, mark in enumerate(metafunc.definition.own_markers):
        if mark.name != 'parametrize' or 'model_name' not in str(mark.args[0]) or not mark.args[1]:
            continue
        keep = list(IMAGENET_STYLE if name in NOT_FOR else NAMES)
        if name.endswith('_pretrained'):
            keep = list_pretrained()
        columns = [column.strip() for column in mark.args[0].split(',')]
        defaults = {'model_kwargs': {}, 'stop_early_final': True, 'kwargs': {}}
        if set(columns[1:]) - set(defaults):
            continue
        rows = keep if len(columns) == 1 else [(n, *(defaults[c] for c in columns[1:])) for n in keep]
        metafunc.definition.own_markers[i] = pytest.mark.parametrize(mark.args[0], rows).mark


def pytest_collection_modifyitems(config, items):
    ours, other = [], []
    for item in items:
        params = getattr(getattr(item, 'callspec', None), 'params', {})
        mine = str(params.get('model_name', '')).split('.')[0] in NAMES
        (ours if mine and not _excluded(item.originalname) else other).append(item)
    named = {i.originalname for i in other if 'model_name' in getattr(getattr(i, 'callspec', None), 'params', {})}
    unexplained = sorted({n for n in named if not _excluded(n)} - {i.originalname for i in ours})
    if unexplained:
        raise pytest.UsageError(f'tests of timm that run on none of our models without a reason: {unexplained}')
    config.hook.pytest_deselected(items=other)
    items[:] = ours
