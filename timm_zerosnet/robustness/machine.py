"""How many cores this process may use."""

from __future__ import annotations

import math
import os
from pathlib import Path


def usable_cores(folder: Path = Path('/sys/fs/cgroup')) -> int:
    """The cores that the system lets this process run on, within the quota of its container; at least 1.

    Args:
        folder: Where the container's control group (version 2) is mounted.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    try:
        quota, period = (folder / 'cpu.max').read_text(encoding='ascii').split()
        return max(1, min(cores, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no quota: 'max 100000'
        return cores
