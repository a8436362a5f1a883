"""The card of a weight on the Hugging Face Hub: ``card.md`` filled from the manifest and the zoo."""

from __future__ import annotations

import re
from pathlib import Path
from string import Template

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from .. import weights
from ..cifar import DEVIATIONS
from ..methods import parse_method
from ..zerosnet import DEPTHS, FAMILIES, default_cfgs
from . import tables
from .release import install_command, install_place

TEMPLATE = Path(__file__).with_name('card.md')
HUB_DATA = {'cifar10': 'uoft-cs/cifar10', 'cifar100': 'uoft-cs/cifar100'}
BASELINE_PAPERS = {  # of the families whose skip connection is older than the paper that all of them are taken from
    'preresnet': 'He, Zhang, Ren, Sun. Identity Mappings in Deep Residual Networks. ECCV 2016. '
    '[arXiv:1603.05027](https://arxiv.org/abs/1603.05027).',
    'lmresnet': 'Lu, Zhong, Li, Dong. Beyond Finite Layer Neural Networks: Bridging Deep Architectures and Numerical '
    'Differential Equations. ICML 2018. [arXiv:1710.10121](https://arxiv.org/abs/1710.10121).',
}
LEARNED_METHODS = {
    'mu': (
        'A block computes `x[n+1] = a0 x[n] + a1 x[n-1] + a2 x[n-2] + b0 f(x[n])` with `a0 = 3 (1 + mu) / 4`, '
        '`a1 = -mu`, `a2 = (1 + mu) / 4`, `b0 = (3 - mu) / 2`. Each block learns its own `mu = 1 / lambda`; the method '
        'is zero-stable for `-1 <= mu < 3`. The first two blocks, which lack the history, are Euler steps.'
    ),
    'k': (
        'A block computes `x[n+1] = k x[n] + (1 - k) x[n-1] + f(x[n])` (LM-ResNet). Each block learns its own `k`; the '
        'method is zero-stable for `0 <= k < 2`. The first block, and those that change the width, are Euler steps.'
    ),
}


def describe_skip_connection(family: str) -> str:
    """The method of a family of networks, in words and as a formula."""
    spec = FAMILIES[family]['cifar']
    if 'learn' in spec:
        return LEARNED_METHODS[spec['learn']]
    method = parse_method(spec['method'])
    stable = 'zero-stable' if method.is_zero_stable else 'not zero-stable'
    first = (
        '' if max(len(method.a), len(method.b)) == 1 else ' The first blocks, which lack the history, are Euler steps.'
    )
    return f'A block computes `{method.formula}`, a method that is {stable} and of order {method.order}.{first}'


def _describe_layers(depth: int) -> str:
    shape = DEPTHS[depth]
    blocks, widths = (', '.join(map(str, shape[key])) for key in ('layers', 'widths'))
    kind = 'basic blocks (two 3x3 convolutions)' if shape['block'] == 'basic' else 'bottleneck blocks (1x1, 3x3, 1x1)'
    wider = '' if shape['block'] == 'basic' else ' inside a bottleneck, four times as many between them'
    return (
        f'`f` is made of pre-activation convolutions: batch norm, ReLU, convolution. A 3x3 convolution is followed by '
        f'stages of {blocks} {kind} with {widths} channels{wider}, then by global average pooling and a linear layer.'
    )


def model_card(name: str, repo_id: str) -> ModelCard:
    """The card of a packaged weight.

    Args:
        name: ``model.tag`` of the weight in the manifest.
        repo_id: The repository ``ORG/NAME`` that the examples of the card load.
    """
    row, (model, tag) = weights.manifest()[name], name.split('.', 1)
    cfg, data = default_cfgs[model].cfgs[tag], tables.DATA_NAMES[row['data']]
    family, depth, learned = re.split(r'(\d+)', model)
    metadata = ModelCardData(
        license=cfg.license,
        library_name='timm',
        pipeline_tag='image-classification',
        tags=['image-classification', 'timm', 'transformers', 'timm-zerosnet'],
        datasets=[HUB_DATA[row['data']]],
        model_name=name,
        eval_results=[
            EvalResult(
                task_type='image-classification',
                dataset_type=HUB_DATA[row['data']],
                dataset_name=data,
                dataset_split='test',
                metric_type='accuracy',
                metric_name=f'Top-{k} accuracy (%)',
                metric_value=row[f'top{k}'],
            )
            for k in (1, 5)
        ],
    )
    recipe = weights.RECIPES / row['recipe']
    text = Template(TEMPLATE.read_text(encoding='utf-8')).substitute(
        name=name,
        repo_id=repo_id,
        paper=cfg.paper_name,
        baseline=f'The skip connection: {BASELINE_PAPERS[family]}\n\nThe setting: '
        if family in BASELINE_PAPERS
        else '',
        data=data,
        skip=describe_skip_connection(family + learned),
        layers=_describe_layers(int(depth)),
        size=' x '.join(map(str, cfg.input_size[1:])),
        mean=cfg.mean,
        std=cfg.std,
        deviation=DEVIATIONS[row['data']],
        classes=cfg.num_classes,
        test_images=f'{row["test_images"]:,}',
        sha256=row['sha256'],
        accuracy=tables.weights_table({name: row}),
        provenance=tables.provenance_table({name: row}),
        command=tables.reproduction_block({name: row}),
        recipe=recipe.stem,
        recipe_text=recipe.read_text(encoding='utf-8').strip(),
        install=install_command(),
        place=install_place(),
    )
    return ModelCard(f'---\n{metadata.to_yaml()}\n---\n{text}')
