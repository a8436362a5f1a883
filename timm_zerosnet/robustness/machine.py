"""The cores that this process may use, and worker processes on them."""

from __future__ import annotations

import functools
import math
import os
import threading
import time
from pathlib import Path
from typing import Any, Iterable

import torch
from torch.utils.data import DataLoader


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


def in_processes(items: Any, indices: Iterable[Any], workers: int) -> Iterable[Any]:
    """``items[index]`` for each index in their order, made ahead by worker processes; here for 0 workers.

    Workers have one torch thread each. What is large in the items had better be arrays: these go through a pipe, but
    tensors through shared memory, of which containers have little.

    Args:
        items: What has ``__getitem__``; the workers get a copy.
        indices: Taken one by one, as far ahead as workers are.
        workers: Number of processes.
    """
    return DataLoader(
        items,
        batch_size=None,
        sampler=indices,  # type: ignore[arg-type]
        num_workers=workers,
        collate_fn=_unchanged,
        generator=torch.Generator(),  # it draws a seed for the workers, otherwise from the user's
        worker_init_fn=functools.partial(_end_with_parent, os.getpid()) if workers else None,
    )


def _unchanged(item: Any) -> Any:
    return item


def _end_with_parent(parent: int, worker: int) -> None:
    """End a worker when its parent was killed: torch's own watch waits until what it handed over has been read."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
