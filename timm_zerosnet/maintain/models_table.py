"""The tables of the networks and of their default weights, made from the registered names and the manifest.

They show single trainings of different depths and recipes, so they do not compare families; ``docs/results.md`` does.
"""

from __future__ import annotations

import re
from typing import Any

from .. import weights
from .._markdown import escape, markdown_table
from ..zerosnet import default_cfgs

# top-1 of the ResNets of https://github.com/chenyaofo/pytorch-cifar-models by depth, as its README reports them
REPORTED_RESNETS = {
    'cifar10': {20: 92.60, 32: 93.53, 44: 94.01, 56: 94.37},
    'cifar100': {20: 68.83, 32: 70.16, 44: 71.63, 56: 72.63},
}
SKIP_CONNECTIONS = {
    'zerosnet': 'zero-stable, lambda = -9/5',
    'zerosnet_tra': 'zero-stable family, one learned lambda in each block',
    'preresnet': 'forward Euler (PreActResNet)',
    'lmresnet': 'LM-ResNet, one learned k in each block',
    'multistep_resnet': 'any multistep method, by `method=`',
}


def _family(model: str) -> tuple[str, int]:
    """Split the name of a network, ``zerosnet20_tra``, into ``zerosnet_tra`` and 20."""
    before, depth, after = re.split(r'(\d+)', model)
    return before + after, int(depth)


def _depths(family: str, size: int) -> str:
    found = [
        depth
        for model, cfg in default_cfgs.items()
        for name, depth in [_family(model)]
        if name == family and cfg.default.input_size[-1] == size
    ]
    return ' '.join(map(str, sorted(found))) or '-'


def _best(models: set[str], rows: dict[str, dict[str, Any]]) -> str:
    found = [name for name, row in rows.items() if name.split('.')[0] in models and row['data'] == 'cifar10']
    if not found:
        return '-'
    best = max(found, key=lambda name: rows[name]['top1'])
    return f'`{best}`, {rows[best]["top1"]:.2f} %'


def models_table() -> str:
    """Return a row for each family, and one for each of timm's own networks that has a packaged weight.

    The last column names the weight with the highest top-1 on CIFAR-10.
    """
    rows = weights.manifest()
    lines = []
    for family, skip in SKIP_CONNECTIONS.items():
        models = {model for model in default_cfgs if _family(model)[0] == family}
        name = f'`{family.removesuffix("_tra")}N{"_tra" if family.endswith("_tra") else ""}`'
        lines.append([name, _depths(family, 32), _depths(family, 224), skip, _best(models, rows)])
    for model in dict.fromkeys(name.split('.')[0] for name in rows):
        if model not in default_cfgs:
            lines.append([f"timm's `{model}`", '-', '-', 'a baseline', _best({model}, rows)])
    return markdown_table(
        ('network', 'N, 32 px', 'N, 224 px', 'skip connection', 'weight with the highest top-1 (one training)'), lines
    )


def defaults_table() -> str:
    """Return a row for each depth and data set with weights: the top-1 of each family's default weight."""
    rows = weights.manifest()
    found: dict[tuple[str, int], dict[str, str]] = {}
    for model in default_cfgs:
        family, depth = _family(model)
        for data in ('cifar10', 'cifar100'):
            if row := rows.get(f'{model}.{data}'):
                found.setdefault((data, depth), {})[family] = f'{row["top1"]:.2f}'
    families = [family for family in SKIP_CONNECTIONS if any(family in cells for cells in found.values())]
    return markdown_table(
        ('tag', 'depth', *(f'`{family.replace("net", "netN", 1)}`' for family in families)),
        (
            (f'`{data}`', str(depth), *(cells.get(family, '-') for family in families))
            for (data, depth), cells in sorted(found.items())
        ),
    )


def recipe_table(recipe: str = 'long') -> str:
    """Return a row for each weight that a recipe trained, beside another project's ResNet of the same depth.

    Args:
        recipe: Name of a packaged recipe.
    """
    lines = []
    for name, row in weights.manifest().items():
        if row['recipe'] == f'{recipe}.yaml':
            resnet = REPORTED_RESNETS[row['data']].get(_family(name.split('.')[0])[1])
            figures = [f'{row["top1"]:.2f}', f'{resnet:.2f}' if resnet else '-']
            figures.append(f'{row["top1"] - resnet:+.2f}' if resnet else '-')
            lines.append([f'`{name}`', str(row['epochs']), escape(row['wall_time'] or 'not recorded'), *figures])
    return markdown_table(('weight', 'epochs', 'wall time', 'top-1 %', 'ResNet %', 'difference'), lines)
