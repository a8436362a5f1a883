"""Shared by the benchmarks: csv files, generated tables in documents, plots, and the name of the device."""

from __future__ import annotations

import csv
import os
import platform
from pathlib import Path
from typing import Any

import torch

from timm_zerosnet._files import replacing


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write a table whose header is the keys of the first row, and print where it is."""
    with replacing(path) as partial, partial.open('w', newline='', encoding='utf-8') as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator='\n')
        writer.writeheader()
        writer.writerows(rows)
    print(f'{path}: {len(rows)} rows')


def read_csv(path: Path) -> list[dict[str, str]]:
    """Read the rows of a table, each as a dict by column."""
    with path.open(newline='', encoding='utf-8') as file:
        return list(csv.DictReader(file))


def replace_table(text: str, name: str, table: str) -> str:
    """Return ``text`` with ``table`` between its lines ``<!-- NAME:begin -->`` and ``<!-- NAME:end -->``."""
    begin, end = f'<!-- {name}:begin -->', f'<!-- {name}:end -->'
    before, rest = text.split(begin)
    return f'{before}{begin}\n{table}\n{end}{rest.split(end)[1]}'


def save_plot(figure: Any, path: Path) -> None:
    """Save a matplotlib figure without its frame; equal data give an equal SVG file."""
    for axes in figure.axes:
        axes.spines[['top', 'right']].set_visible(False)
    figure.savefig(path, metadata={'Date': None} if path.suffix == '.svg' else None)


def device_name(device: str) -> str:
    """The name of a GPU, or of the processor, for a device of torch such as ``'cuda:0'``."""
    return torch.cuda.get_device_name(device) if device.startswith('cuda') else processor_name()


def processor_name() -> str:
    """The name of the processor and how many cores it has, such as ``AMD EPYC, 2 cores``."""
    try:
        lines = Path('/proc/cpuinfo').read_text(encoding='utf-8').splitlines()
        name = next(line.split(':')[1].strip() for line in lines if line.startswith('model name'))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f'{name}, {os.cpu_count()} cores'
