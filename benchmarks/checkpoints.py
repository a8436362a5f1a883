"""Keep the last checkpoint of a training that is not finished in the repository, and go on from it elsewhere.

    python benchmarks/checkpoints.py --pack runs/NAME
    python benchmarks/checkpoints.py --unpack NAME --output runs
    timm-zerosnet train --continue runs/NAME --data-dir DATA

``--pack`` writes ``checkpoints/NAME/`` beside this file, ``--unpack`` makes a run's folder of it. To be small, weights
are rounded to float16 and the optimizer's state to bfloat16, so that the run goes on nearly as it would have.
``checkpoints/README.md`` gets a table of the runs that are there.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any, Callable

import torch
import yaml
from torch import Tensor

from timm_zerosnet._errors import WeightError
from timm_zerosnet._files import make_folder
from timm_zerosnet._markdown import markdown_table
from timm_zerosnet.checkpoint import read_checkpoint, read_yaml
from timm_zerosnet.maintain.add_weight import compact
from timm_zerosnet.maintain.reproduction import MACHINE_PATHS
from timm_zerosnet.training.logs import newest_checkpoint, read_log, trim_log

FOLDER = Path(__file__).with_name('checkpoints')
LAST = 'last.pth.tar'
WEIGHTS = ('state_dict', 'state_dict_ema')
KEPT = ('epoch', 'arch', 'version', 'metric', 'args', 'optimizer', *WEIGHTS)
HEAD = """# Trainings that are not finished

This goes on with one, from the root of a checkout; `DATA` is the folder of its images:

```console
python benchmarks/checkpoints.py --unpack NAME --output runs
timm-zerosnet train --continue runs/NAME --data-dir DATA
```
"""


def mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same nest of dicts, lists and tuples with every tensor changed."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        return type(value)((key, mapped(entry, change)) for key, entry in value.items())
    return type(value)(mapped(entry, change) for entry in value) if type(value) in (list, tuple) else value


def pack(run: Path) -> Path:
    """Store the last checkpoint of a run, with its log and its arguments but for paths of the machine.

    Raises:
        WeightError: if there is none.
    """
    found = newest_checkpoint(run)
    if found is None:
        raise WeightError(f'--pack: expected the folder of a run with a checkpoint, got {run}, which has none')
    content = {key: value for key, value in found[1].items() if key in KEPT}
    content['args'] = argparse.Namespace(**_without_paths(vars(content['args'])))
    content |= {key: compact(content[key]) for key in WEIGHTS if key in content}
    content['optimizer'] = mapped(content['optimizer'], _halved)
    target = FOLDER / run.resolve().name
    make_folder(target)
    torch.save(content, target / LAST)
    shutil.copyfile(run / 'summary.csv', target / 'summary.csv')
    trim_log(target / 'summary.csv', content['epoch'] + 1)  # of a running one it may be an epoch ahead
    args = _without_paths(read_yaml(run / 'args.yaml'))
    (target / 'args.yaml').write_text(yaml.safe_dump(args), encoding='utf-8')
    return target


def _without_paths(args: dict[str, Any]) -> dict[str, Any]:
    began_with_file = bool(args.get('pretrained_path'))  # whose weights the checkpoint replaces
    kept = {**args, 'pretrained': args['pretrained'] and not began_with_file}
    return {key: '' if key in MACHINE_PATHS and value else value for key, value in kept.items()}


def _halved(value: Tensor) -> Tensor:
    return value.bfloat16() if value.dtype == torch.float32 and value.ndim else value  # a step's number stays exact


def unpack(name: str, output: Path) -> Path:
    """Make a run's folder of a stored checkpoint, which ``timm-zerosnet train --continue`` takes.

    Raises:
        WeightError: if nothing of that name is stored, or the folder exists.
    """
    stored, target = FOLDER / name, output / name
    if not (stored / LAST).is_file():
        raise WeightError(f'--unpack: expected one of {", ".join(names()) or "none, nothing is packed"}, got {name}')
    if target.exists():
        raise WeightError(f'{target} exists: expected a new folder, remove it or choose another --output')
    half = (torch.float16, torch.bfloat16)
    content = mapped(read_checkpoint(stored / LAST), lambda value: value.float() if value.dtype in half else value)
    make_folder(target)
    for file in ('summary.csv', 'args.yaml'):
        shutil.copyfile(stored / file, target / file)
    torch.save(content, target / LAST)
    return target


def names() -> list[str]:
    """Of the trainings that are stored."""
    return sorted(path.parent.name for path in FOLDER.glob(f'*/{LAST}'))


def table() -> str:
    """The Markdown table of the trainings that are stored."""
    rows = []
    for name in names():
        log = read_log(FOLDER / name / 'summary.csv')
        size = (FOLDER / name / LAST).stat().st_size / 1e6
        row = name, log.args['model'], log.epoch + 1, log.args['epochs'], f'{log.top1:.2f}', f'{size:.1f}'
        rows.append([*map(str, row)])
    return markdown_table(('run', 'network', 'epochs done', 'of', 'top-1, %', 'MB'), rows, 'llrrrr')


def main() -> int:
    """The command; 2 for a run that cannot be stored or continued."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    action = parser.add_mutually_exclusive_group()
    action.add_argument('--pack', type=Path, metavar='RUN', help='folder of a run')
    action.add_argument('--unpack', metavar='NAME', help='a training that is stored')
    parser.add_argument('--output', type=Path, default=Path('runs'), help='where NAME goes; default: %(default)s')
    args = parser.parse_args()
    try:
        if args.pack:
            print(pack(args.pack))
        elif args.unpack:
            print(unpack(args.unpack, args.output))
    except WeightError as error:
        parser.error(str(error))
    if names():
        (FOLDER / 'README.md').write_text(f'{HEAD}\n{table()}\n', encoding='utf-8')
    return 0


if __name__ == '__main__':
    sys.exit(main())
