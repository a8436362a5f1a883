"""``timm-zerosnet info``: everything about a network and its weights."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Callable

import torch
from torch import nn

from .. import weights
from .._errors import WeightError, nearest, shorten
from .._files import sha256
from ..checkpoint import class_names, read_yaml
from ..costs import measure
from ..memory import check_size
from ..methods import lm, zerosnet_coefficients
from ..multistep import MultistepMethod, as_fraction
from ..recorded import say_recorded
from ..registry import stranger
from ..robustness.models import Source
from ..steps import LMStep, ZeroSNetStep
from ..zerosnet import default_cfgs
from .options import add_model_options, print_json, print_table
from .stability import describe as describe_method
from .stability import root_texts

CONFIG_KEYS = ('input_size', 'mean', 'std', 'crop_pct', 'interpolation', 'license', 'origin_url', 'paper_ids')
EXAMPLES = """
timm-zerosnet info zerosnet20
timm-zerosnet info zerosnet20 --checkpoint runs/first/last.pth.tar
timm-zerosnet info zerosnet20.cifar100 --json
"""


def register(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the command.

    Args:
        command: Makes the command's parser from its name, function, description and examples.
    """
    parser = command('info', _info, 'Config, method, stability and weight of a network of this package.', EXAMPLES)
    parser.add_argument('name', metavar='NAME', help='such as zerosnet20 or zerosnet20.cifar100')
    add_model_options(parser)
    parser.add_argument('--json', action='store_true', help='print JSON')


def own_model(name: str) -> tuple[str, str]:
    """Name and tag of a network of this package.

    Args:
        name: Registered name, with or without a tag.

    Returns:
        The name without the tag, and the tag, by default the network's own default.

    Raises:
        ValueError: if there is no such network or tag; the message suggests the nearest.
    """
    weights.check_tag(name)
    model, _, tag = name.partition('.')
    if model in default_cfgs and (holder := stranger(model)):
        raise ValueError(f'the name {model} is taken by a model of {holder}: it is no network of this package')
    if packaged := [other for other in weights.backbone_weights() if name in (other, other.partition('.')[0])]:
        raise ValueError(
            f"{name} is a network of timm's own; timm_zerosnet.weights_overlay({packaged[0]!r}) says how it loads"
        )
    if model not in default_cfgs:
        near = nearest(model, default_cfgs, 3, 0.4)
        raise ValueError(
            f'{name!r} is no network of this package; nearest: {", ".join(near) or "none, see timm-zerosnet list"}'
        )
    tags = [other for other in default_cfgs[model].cfgs if other]
    if tag and tag not in tags:
        advice = f'expected one of {", ".join(tags)}' if tags else weights.no_tags(model)
        raise ValueError(f'{name!r}: {model} has no tag {tag!r}; {advice}')
    return model, tag or str(default_cfgs[model].tags[0])


def _info(args: argparse.Namespace) -> None:
    found = describe(args.name, args.checkpoint, args.model_kwargs)
    if args.json:
        print_json(found)
    else:
        _print(found)


def describe(name: str, checkpoint: Path | None = None, arguments: dict[str, Any] | None = None) -> dict[str, Any]:
    """Everything about a network, as JSON takes it.

    Args:
        name: Registered name, with or without a tag.
        checkpoint: File with own weights. By default the packaged weights are described, or the initial values where
            there are none.
        arguments: More arguments for ``timm.create_model``.

    Raises:
        ValueError: for an unknown name, or an image size that does not fit into the free memory.
        WeightError: for weights that are damaged or do not fit.
    """
    model, tag = own_model(name)
    full = f'{model}.{tag}' if tag else model
    row = None if checkpoint else weights.manifest().get(full)
    source = Source(full, None, checkpoint, arguments or {})
    source.check()
    say_recorded(checkpoint, source.arguments, source.made_with, source.trained_on)
    net: Any = source.open() if row or checkpoint else _initial(source)
    config = {**net.pretrained_cfg, **source.trained_on}
    size = (net.in_chans, *config['input_size'][1:])
    check_size(net.eval(), size, full)
    counted = measure(net, size)
    names = class_names(checkpoint) if checkpoint else config.get('label_names')
    return {
        'name': model if checkpoint else full,
        'tags': [other for other in default_cfgs[model].cfgs if other],
        'parameters': counted.parameters,
        'macs': counted.macs,
        'classes': net.num_classes,
        'in_chans': net.in_chans,
        'layers': [len(stage.blocks) for stage in net.stages],
        'config': {key: config[key] for key in CONFIG_KEYS if config.get(key) is not None},
        'label_names': list(names) if names and len(names) == net.num_classes else None,
        'method': describe_method(net.method) if not learned(net) else None,
        'blocks': learned(net) or None,
        'weights': _weights(full, row, checkpoint),
    }


def _initial(source: Source) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return source.open(pretrained=False)


def learned(net: nn.Module) -> list[dict[str, Any]]:
    """Coefficient, method and verdict of each block that learns its own."""
    rows = []
    for name, step in net.named_modules():
        values: dict[str, Any]
        if isinstance(step, ZeroSNetStep):
            mu = as_fraction(step.effective_mu().detach().float().numpy()[0])
            a, b0 = zerosnet_coefficients(mu)
            method = MultistepMethod(a, [b0])
            values = {'mu': float(mu), 'lambda': float(1 / mu) if mu else None}
        elif isinstance(step, LMStep):
            k = as_fraction(step.k.detach().float().numpy()[0])
            method, values = lm(k), {'k': float(k)}
        else:
            continue
        rows.append(
            {
                'block': name.removesuffix('.step'),
                **values,
                'roots': root_texts(method),
                'parasitic_radius': method.parasitic_radius,
                'zero_stable': method.is_zero_stable,
                'order': method.order,
            }
        )
    return rows


def _weights(name: str, row: dict[str, Any] | None, checkpoint: Path | None) -> dict[str, Any] | None:
    if checkpoint is not None:
        return {'file': str(checkpoint), 'bytes': checkpoint.stat().st_size, 'sha256': sha256(checkpoint)}
    if row is None:
        return None
    from ..maintain.reproduction import changes  # maintainers' tools load for what needs them

    try:
        recipe = read_yaml(weights.RECIPES / row['recipe'])
        as_run = {**recipe, **changes(recipe, read_yaml(weights.WEIGHTS / 'logs' / name / 'args.yaml'))}
    except WeightError:
        as_run = None
    return {'file': weights.weight_file(name), **row, 'recipe_arguments': as_run}


def _print(found: dict[str, Any]) -> None:
    own = found['weights'] and 'recipe' not in found['weights']
    print(f'{found["name"]} with {found["weights"]["file"]}' if own else found['name'])
    print(f'  {"tags":18}{", ".join(found["tags"]) or "none"}')
    for key in ('parameters', 'macs'):
        print(f'  {key:18}{found[key]:,}')
    for key in ('classes', 'in_chans', 'layers'):
        print(f'  {key:18}{_text(found[key])}')
    _section('config', found['config'])
    if found['label_names']:
        print(f'  {"label_names":18}{shorten(found["label_names"], 10)}')
    if found['method']:
        kept = ('formula', 'parasitic_radius', 'order', 'error_constant', 'verdict', 'meaning', 'source')
        _section('method', {'name': found['method']['name'], **{key: found['method'][key] for key in kept}})
    if found['blocks']:
        _print_blocks(found)
    weight = found['weights']
    if weight is None:
        print('\nweights\n  none: every value is the initial one')
        return
    recipe = weight.get('recipe_arguments')
    _section('weights', {key: value for key, value in weight.items() if key != 'recipe_arguments'})
    if recipe:
        _section(f'recipe {weight["recipe"]}, as it was run', recipe)


def _print_blocks(found: dict[str, Any]) -> None:
    key = 'k' if 'k' in found['blocks'][0] else 'lambda'
    unstable = sum(not row['zero_stable'] for row in found['blocks'])
    count = len(found['blocks'])
    verdict = f'{unstable} of {count} are not zero-stable' if unstable else f'all {count} are zero-stable'
    print(f'\nblocks with a {key} of their own: {verdict}')
    rows = [('  block', key, 'parasitic radius', 'zero-stable')]
    for row in found['blocks']:
        value = 'inf' if row[key] is None else f'{row[key]:.4f}' if abs(row[key]) < 1e6 else f'{row[key]:.4g}'
        radius = 'none' if row['parasitic_radius'] is None else f'{row["parasitic_radius"]:.4f}'
        rows.append((f'  {row["block"]}', value, radius, 'yes' if row['zero_stable'] else 'NO'))
    print_table(rows)


def _section(title: str, values: dict[str, Any]) -> None:
    print(f'\n{title}')
    width = max(18, 2 + max(map(len, map(str, values))))
    for key, value in values.items():
        print(f'  {key:{width}}{_text(value)}')


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ', '.join(f'{key} {_text(entry)}' for key, entry in value.items())
    if isinstance(value, (list, tuple)):
        return ' '.join(map(_text, value))
    if value is None or value == '':
        return 'none'
    return f'{value:.4g}' if isinstance(value, float) and value == value and abs(value) < 10 else str(value)
