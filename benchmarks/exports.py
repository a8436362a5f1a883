"""Differences between exported and eager networks; writes results/exports.csv and docs/exports.md.

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
from records import write_csv
from timm.utils import reparameterize_model
from torch import Tensor, nn
from torch.export import Dim
from tqdm import tqdm

import timm_zerosnet  # noqa: F401
from timm_zerosnet._markdown import markdown_table

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).parent / 'results' / 'exports.csv'
DOCUMENT = ROOT / 'docs' / 'exports.md'
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
HEAD = """# Exports

Every network leaves Python by every path of torch's. The table has the largest difference of a logit from the eager
network's, relative to the largest logit, over batches of {batches} images and sizes
{cifar} (ImageNet style: {imagenet}):
the exported network is one, its batch and size are dynamic. `fused` is ONNX after `timm.utils.reparameterize_model`,
which folds batch norms and b0 into the convolutions. Networks with random weights whose norms have seen a batch; torch
{torch}. `python benchmarks/exports.py` measures it again.

"""
TAIL = """
CIFAR-style networks then take any size from 2 pixels, odd ones too: nothing need be a multiple of four. ImageNet-style
ones, which halve the size five times, take any from 33 pixels if the example has at least 64. Exporting with dynamic
sizes needs torch 2.6.

```python
import timm
import torch
from torch.export import Dim

model = timm.create_model('zerosnet20', pretrained=True).eval()
shapes = {'x': {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC}}
program = torch.export.export(model, (torch.randn(2, 3, 32, 32),), dynamic_shapes=shapes)
print(program.module()(torch.randn(7, 3, 48, 33)).shape)
```

```python
import timm
import torch
from torch.export import Dim

model = timm.utils.reparameterize_model(timm.create_model('zerosnet20', pretrained=True).eval())
shapes = {'x': {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC}}
torch.onnx.export(model, (torch.randn(2, 3, 32, 32),), 'zerosnet20.onnx', dynamo=True, dynamic_shapes=shapes)
```

`torch.compile(model, fullgraph=True)` makes as many graphs as torch asks for, whatever the depth: for each of training
and evaluation one for the first batch, one for all other batches, and one for single images. timm's `onnx_export.py`,
`benchmark.py`, `inference.py` and `validate.py` take our names as they take timm's.
"""


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


def document(rows: list[dict[str, str]]) -> str:
    """The text of docs/exports.md."""
    header = [name for name in rows[0] if name != 'torch']
    texts = {style: ', '.join(f'{height} x {width}' for height, width in found) for style, found in SIZES.items()}
    head = HEAD.format(batches=', '.join(map(str, BATCHES)), torch=rows[0]['torch'], **texts)
    return f'{head}{markdown_table(header, ([row[name] for name in header] for row in rows))}\n{TAIL}'


def write(rows: list[dict[str, str]]) -> None:
    """Write the csv file and the document."""
    write_csv(RESULTS, rows)
    DOCUMENT.write_text(document(rows), encoding='utf-8')
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
