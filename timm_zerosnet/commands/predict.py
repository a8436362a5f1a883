"""``timm-zerosnet predict``: the most probable classes of image files."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, Callable

import torch
from PIL import Image
from torch import Tensor, nn

from ..recorded import say_recorded
from ..robustness.evaluation import ready
from ..robustness.models import ModelError, ModelInfo, Source, describe_model, read_class_map
from ..robustness.pictures import ImageError, read_image
from ..robustness.preprocessing import as_floats, resize
from .options import add_model_options, print_json

BATCH = 64
"""Images that are read and classified together."""
TOPK = 5
EXAMPLES = """
timm-zerosnet predict cat.png dog.jpg --model zerosnet20
timm-zerosnet predict flower.jpg --model zerosnet20 --checkpoint runs/flowers/last.pth.tar --class-map flowers.txt
timm-zerosnet predict *.png --model zerosnet20.cifar100 --topk 1 --json
"""


def register(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the command to the parser, see ``commands.robustness.register``."""
    text = 'Name the most probable classes of image files. Exit code 1: some of the files could not be read.'
    parser = command('predict', _predict, text, EXAMPLES)
    parser.add_argument('images', nargs='+', type=Path, metavar='IMAGE', help='files of any size and kind')
    parser.add_argument('--model', required=True, metavar='NAME', help='any name of timm, such as zerosnet20.cifar100')
    parser.add_argument('--topk', type=int, metavar='K', help=f'number of classes to name; default: {TOPK}')
    add_model_options(parser)
    parser.add_argument(
        '--class-map', type=Path, metavar='FILE', help='JSON {"class": output}, or line k names class k'
    )
    parser.add_argument('--json', action='store_true', help='print JSON')


def _predict(args: argparse.Namespace) -> int:
    if args.topk is not None and args.topk < 1:
        raise ValueError(f'expected --topk of at least 1, got {args.topk}')
    source = Source(args.model, None, args.checkpoint, args.model_kwargs)
    source.check()
    source.check_pictures()
    say_recorded(args.checkpoint, source.arguments, source.made_with, source.trained_on)
    names = None if args.class_map is None else _names_of_outputs(read_class_map(args.class_map))
    net = source.open()
    model = describe_model(source, net)
    classes = model.classes
    if classes is None:
        raise ModelError(f'model {args.model} does not say how many classes it has')
    if (args.topk or 1) > classes:
        raise ValueError(f'expected --topk from 1 to {classes}, the number of classes of {args.model}, got {args.topk}')
    if names is None:
        names = dict(enumerate(model.label_names or ()))
        if args.checkpoint is not None and names and not model.trained:
            _note(f'the class names are those of {args.model}; --class-map FILE gives others')
    if unknown := [i for i in names if not 0 <= i < classes]:
        raise ValueError(f'expected outputs from 0 to {classes - 1} in {args.class_map}, got {unknown[0]}')
    if args.class_map is not None and len(names) < classes:
        _note(f'{args.class_map} names {len(names)} of the {classes} outputs')
    results: list[dict[str, Any]] = []
    for start in range(0, len(args.images), BATCH):
        found = _classify(args, net, model, args.images[start : start + BATCH], names)
        results += found
        if not args.json:
            for result in found:
                if 'error' not in result:
                    print(_format(result), flush=True)
    if args.json:
        print_json(results)
    unread = sum('error' in result for result in results)
    return 0 if not unread else 2 if unread == len(results) else 1


def _names_of_outputs(class_map: dict[str, int]) -> dict[int, str]:
    """The name of each output; the names of several classes that share an output stand side by side."""
    names: dict[int, str] = {}
    for name, i in class_map.items():
        names[i] = f'{names[i]} / {name}' if i in names else name
    return names


def _classify(
    args: argparse.Namespace, net: nn.Module, model: ModelInfo, paths: list[Path], names: dict[int, str]
) -> list[dict[str, Any]]:
    """The result of each file, as ``--json`` prints it: its predictions, or why it cannot be read."""
    images: dict[int, Image.Image] = {}
    results: list[dict[str, Any]] = []
    for i, path in enumerate(paths):
        result: dict[str, Any] = {'file': str(path)}
        try:
            images[i], result['notes'] = read_image(path, model.preprocessing['input_size'][0])
            if result['notes']:
                _note(f'{path}: {"; ".join(result["notes"])}')
        except ImageError as error:
            result['error'] = str(error)
            _note(str(error))
        results.append(result)
    if images:
        count = min(TOPK, model.classes or TOPK) if args.topk is None else args.topk
        top = probabilities(net, model, list(images.values())).topk(count)
        for i, values, indices in zip(images, top.values.tolist(), top.indices.tolist(), strict=True):
            results[i]['predictions'] = [
                {'class': names.get(index, f'class {index}'), 'index': index, 'probability': value}
                for index, value in zip(indices, values, strict=True)
            ]
    return results


def probabilities(net: nn.Module, model: ModelInfo, images: list[Image.Image]) -> Tensor:
    """Probabilities of the classes, (N, classes) float32.

    Args:
        net: The network.
        model: The description of the network, with its preprocessing.
        images: N images of any size.

    Raises:
        ModelError: if the network does not return (N, classes) finite logits.
    """
    config = model.preprocessing
    mean, std = (torch.tensor(config[key]).view(1, -1, 1, 1) for key in ('mean', 'std'))
    with ready(net, 'cpu'), torch.inference_mode():
        logits = net((as_floats(resize(images, config)) - mean) / std)
    if not isinstance(logits, Tensor) or logits.shape != (len(images), model.classes) or not logits.isfinite().all():
        raise ModelError(f'model {model.name} does not return {model.classes} finite logits for each image')
    return logits.float().softmax(1)


def _format(result: dict[str, Any]) -> str:
    classes = ', '.join(f'{entry["class"]} {100 * entry["probability"]:.2f} %' for entry in result['predictions'])
    return f'{result["file"]}: {classes}'


def _note(text: str) -> None:
    print(f'timm-zerosnet: {text}', file=sys.stderr)
