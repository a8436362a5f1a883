"""What the benchmarks share: tables as csv and Markdown, plots, and the name of the device."""

from __future__ import annotations

import csv
import os
import platform
from pathlib import Path
from typing import Any, Iterable

import torch

from timm_zerosnet._files import replacing


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    """A table whose header is the keys of the first row; it prints where it lies."""
    with replacing(path) as partial, partial.open('w', newline='', encoding='utf-8') as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator='\n')
        writer.writeheader()
        writer.writerows(rows)
    print(f'{path}: {len(rows)} rows')


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a table."""
    with path.open(newline='', encoding='utf-8') as file:
        return list(csv.DictReader(file))


def markdown(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table, without a line break at its end."""
    header = list(header)
    return '\n'.join(f'| {" | ".join(line)} |' for line in (header, ['---'] * len(header), *rows))


def save(figure: Any, path: Path) -> None:
    """A plot without frames, the same file for the same data."""
    for axes in figure.axes:
        axes.spines[['top', 'right']].set_visible(False)
    figure.savefig(path, metadata={'Date': None} if path.suffix == '.svg' else None)


def device_name(device: str) -> str:
    """Of a GPU or of the processor."""
    return torch.cuda.get_device_name(device) if device.startswith('cuda') else processor()


def processor() -> str:
    """Such as ``AMD EPYC, 2 cores``."""
    try:
        lines = Path('/proc/cpuinfo').read_text(encoding='utf-8').splitlines()
        name = next(line.split(':')[1].strip() for line in lines if line.startswith('model name'))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f'{name}, {os.cpu_count()} cores'
