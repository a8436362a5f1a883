"""What the benchmarks share: tables as csv files, and the name of the processor."""

from __future__ import annotations

import csv
import os
import platform
from pathlib import Path
from typing import Any


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    """A table whose header is the keys of the first row; it prints where it lies."""
    with path.open('w', newline='', encoding='utf-8') as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator='\n')
        writer.writeheader()
        writer.writerows(rows)
    print(f'{path}: {len(rows)} rows')


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a table."""
    with path.open(newline='', encoding='utf-8') as file:
        return list(csv.DictReader(file))


def processor() -> str:
    """Such as ``AMD EPYC, 2 cores``."""
    try:
        lines = Path('/proc/cpuinfo').read_text(encoding='utf-8').splitlines()
        name = next(line.split(':')[1].strip() for line in lines if line.startswith('model name'))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f'{name}, {os.cpu_count()} cores'
