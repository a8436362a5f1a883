"""``timm-zerosnet predict``: what a model sees in image files."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, Callable, Iterator

import torch
from PIL import Image
from torch import Tensor, nn

from ..robustness.evaluation import as_floats, ready, resize
from ..robustness.models import ModelError, ModelInfo, Source, describe_model, read_class_map
from ..robustness.pictures import ImageError, read_image
from .options import add_model_options, print_json

BATCH = 64
TOPK = 5
EXAMPLES = """
timm-zerosnet predict cat.png dog.jpg --model zerosnet20
timm-zerosnet predict flower.jpg --model zerosnet20 --checkpoint runs/flowers/last.pth.tar --class-map flowers.txt
timm-zerosnet predict *.png --model zerosnet20.cifar100 --topk 1 --json
"""


def register(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the command, see ``robustness.commands.register``."""
    text = 'Classes that a model sees in image files. Code 1: some of the files could not be read.'
    parser = command('predict', _predict, text, EXAMPLES)
    parser.add_argument('images', nargs='+', type=Path, metavar='IMAGE', help='files of any size and kind')
    parser.add_argument('--model', required=True, metavar='NAME', help='any name of timm, such as zerosnet20.cifar100')
    parser.add_argument('--topk', type=int, metavar='K', help=f'classes to name; default: {TOPK}')
    add_model_options(parser)
    parser.add_argument(
        '--class-map', type=Path, metavar='FILE', help='JSON {"class": output}, or line k names class k'
    )
    parser.add_argument('--json', action='store_true', help='print JSON')


def _predict(args: argparse.Namespace) -> int:
    if args.topk is not None and args.topk < 1:
        raise ValueError(f'--topk {args.topk}: accepted is at least 1')
    source = Source(args.model, None, args.checkpoint, args.model_kwargs)
    source.check()
    source.check_pictures()
    names = None if args.class_map is None else _outputs(read_class_map(args.class_map))
    net = source.open()
    subject = describe_model(source, net)
    classes = subject.classes
    if classes is None:
        raise ModelError(f'model {args.model} does not say how many classes it has')
    if (args.topk or 1) > classes:
        raise ValueError(f'--topk {args.topk}: accepted is 1 to {classes}, the classes of {args.model}')
    if names is None:
        names = dict(enumerate(subject.label_names or ()))
        if args.checkpoint is not None and names and not subject.trained:
            _say(f'the class names are those of {args.model}; --class-map FILE gives others')
    if strange := [i for i in names if not 0 <= i < classes]:
        raise ValueError(f'{args.class_map} names output {strange[0]}: accepted are 0 to {classes - 1}')
    if args.class_map is not None and len(names) < classes:
        _say(f'{args.class_map} names {len(names)} of the {classes} outputs')
    results: list[dict[str, Any]] = []
    for start in range(0, len(args.images), BATCH):
        found = list(_results(args, net, subject, args.images[start : start + BATCH], names))
        results += found
        if not args.json:
            for result in found:
                if 'error' not in result:
                    print(_line(result), flush=True)
    if args.json:
        print_json(results)
    broken = sum('error' in result for result in results)
    return 0 if not broken else 2 if broken == len(results) else 1


def _outputs(class_map: dict[str, int]) -> dict[int, str]:
    """The name of each output; several that share one stand side by side."""
    names: dict[int, str] = {}
    for name, i in class_map.items():
        names[i] = f'{names[i]} / {name}' if i in names else name
    return names


def _results(
    args: argparse.Namespace, net: nn.Module, subject: ModelInfo, paths: list[Path], names: dict[int, str]
) -> Iterator[dict[str, Any]]:
    images: dict[int, Image.Image] = {}
    results: list[dict[str, Any]] = []
    for i, path in enumerate(paths):
        result: dict[str, Any] = {'file': str(path)}
        try:
            images[i], result['notes'] = read_image(path, subject.preprocessing['input_size'][0])
            if result['notes']:
                _say(f'{path}: {"; ".join(result["notes"])}')
        except ImageError as error:
            result['error'] = str(error)
            _say(str(error))
        results.append(result)
    if images:
        count = min(TOPK, subject.classes or TOPK) if args.topk is None else args.topk
        top = probabilities(net, subject, list(images.values())).topk(count)
        for i, values, indices in zip(images, top.values.tolist(), top.indices.tolist(), strict=True):
            results[i]['predictions'] = [
                {'class': names.get(index, f'class {index}'), 'index': index, 'probability': value}
                for index, value in zip(indices, values, strict=True)
            ]
    yield from results


def probabilities(net: nn.Module, subject: ModelInfo, images: list[Image.Image]) -> Tensor:
    """(N, classes) probabilities of N images, float32.

    Raises:
        ModelError: if the model returns something else than (N, classes) finite logits.
    """
    config = subject.preprocessing
    mean, std = (torch.tensor(config[key]).view(1, -1, 1, 1) for key in ('mean', 'std'))
    with ready(net, 'cpu'), torch.inference_mode():
        logits = net((as_floats(resize(images, config)) - mean) / std)
    if not isinstance(logits, Tensor) or logits.shape != (len(images), subject.classes) or not logits.isfinite().all():
        raise ModelError(f'model {subject.name} does not return {subject.classes} finite logits for each image')
    return logits.float().softmax(1)


def _line(result: dict[str, Any]) -> str:
    seen = ', '.join(f'{entry["class"]} {100 * entry["probability"]:.2f} %' for entry in result['predictions'])
    return f'{result["file"]}: {seen}'


def _say(text: str) -> None:
    print(f'timm-zerosnet: {text}', file=sys.stderr)
