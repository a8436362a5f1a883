"""Differences between exported and eager networks; writes results/exports.csv and its table in docs/performance.md.

    python benchmarks/exports.py

Each network is exported once by each path, and the exported network then runs on every batch and size below. Needs
onnx, onnxscript and onnxruntime.
"""

from __future__ import annotations

import argparse
import copy
import io
import tempfile
import warnings
from pathlib import Path
from typing import Any, Callable

import timm
import torch
from records import replace_table, write_csv
from timm.utils import reparameterize_model
from torch import Tensor, nn
from torch.export import Dim
from tqdm import tqdm

import timm_zerosnet  # noqa: F401
from timm_zerosnet._markdown import markdown_table

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).parent / 'results' / 'exports.csv'
DOCUMENT = ROOT / 'docs' / 'performance.md'
NETWORKS: dict[str, dict[str, Any]] = {
    'zerosnet20': {},
    'zerosnet20_tra': {},
    'zerosnet164': {},
    'zerosnet18': {},
    'preresnet20': {},
    'lmresnet20': {},
    'multistep_resnet20': {'method': 'ab3'},
}
BATCHES = (1, 2, 7, 33)
SIZES = {
    'cifar': ((32, 32), (28, 28), (33, 33), (48, 32), (64, 64)),
    'imagenet': ((64, 64), (40, 40), (65, 65), (128, 96)),
}
DYNAMIC = {'x': {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC}}
Module = Callable[[Tensor], Tensor]


def scripted(model: nn.Module, example: Tensor) -> Module:
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(model), file)
    file.seek(0)
    return torch.jit.load(file)


def traced(model: nn.Module, example: Tensor) -> Module:
    return torch.jit.trace(model, example)


def symbolic(model: nn.Module, example: Tensor) -> Module:
    return torch.fx.symbolic_trace(model)


def exported(model: nn.Module, example: Tensor) -> Module:
    file = io.BytesIO()
    torch.export.save(torch.export.export(model, (example,), dynamic_shapes=DYNAMIC), file)
    file.seek(0)
    return torch.export.load(file).module()


def onnx(model: nn.Module, example: Tensor) -> Module:
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'model.onnx'
        torch.onnx.export(model, (example,), path, dynamo=True, dynamic_shapes=DYNAMIC, verbose=False)
        session = onnxruntime.InferenceSession(path)
    entry = session.get_inputs()[0].name
    return lambda images: torch.from_numpy(session.run(None, {entry: images.numpy()})[0])


def compiled(model: nn.Module, example: Tensor) -> Module:
    torch._dynamo.reset()
    return torch.compile(model, fullgraph=True, dynamic=True)


PATHS: dict[str, Callable[[nn.Module, Tensor], Module]] = {
    'TorchScript': scripted,
    'trace': traced,
    'torch.fx': symbolic,
    'torch.export': exported,
    'ONNX Runtime': onnx,
    'torch.compile': compiled,
}


def network(name: str) -> nn.Module:
    """Build a network in evaluation mode; its running statistics are not the initial ones."""
    torch.manual_seed(0)
    model = timm.create_model(name, **NETWORKS[name])
    with torch.no_grad():
        model.train()(torch.randn(8, 3, *sizes(name)[0]))
    return model.eval()


def sizes(name: str) -> tuple[tuple[int, int], ...]:
    """Heights and widths that a network of this style is tested at; the example for the export has the first."""
    config = timm.get_pretrained_cfg(name)
    assert config is not None
    return SIZES['cifar' if config.input_size[-1] == 32 else 'imagenet']


@torch.no_grad()
def difference(module: Module, model: nn.Module, name: str) -> float:
    """The largest relative difference of a logit over all batches and sizes."""
    worst = 0.0
    for batch in BATCHES:
        for size in sizes(name):
            images = torch.randn(batch, 3, *size)
            expected = model(images)
            worst = max(worst, ((module(images) - expected).abs().max() / expected.abs().max()).item())
    return worst


def measure(name: str) -> dict[str, str]:
    """Export a network by every path; returns its row of the csv file, the difference for each path."""
    model, example = network(name), torch.randn(2, 3, *sizes(name)[0])
    row = {'network': f'`{name}`', 'torch': torch.__version__.split('+')[0]}
    for path, make in tqdm(PATHS.items(), desc=name, leave=False):
        row[path] = f'{difference(make(copy.deepcopy(model), example), model, name):.1e}'
    fused = reparameterize_model(copy.deepcopy(model))
    row['fused'] = f'{difference(onnx(fused, example), model, name):.1e}'
    return row


def document(text: str, rows: list[dict[str, str]]) -> str:
    """The text with its table made anew from the rows of the csv."""
    header = [name for name in rows[0] if name != 'torch']
    table = markdown_table(header, ([row[name] for name in header] for row in rows))
    return replace_table(text, 'exports', table)


def write(rows: list[dict[str, str]]) -> None:
    """Write the csv, and the table into the document."""
    write_csv(RESULTS, rows)
    DOCUMENT.write_text(document(DOCUMENT.read_text(encoding='utf-8'), rows), encoding='utf-8')
    print(DOCUMENT)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--network', nargs='+', choices=NETWORKS, help='only print these')
    args = parser.parse_args()
    warnings.simplefilter('ignore')
    rows = []
    for name in args.network or NETWORKS:
        rows.append(measure(name))
        print(rows[-1], flush=True)
    if not args.network:
        write(rows)


if __name__ == '__main__':
    main()
