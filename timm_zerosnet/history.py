"""What each block of a network does with the states and slopes of the blocks before it: plans, without any tensor.

A method with k terms reads ``x[n], .., x[n-k+1]`` and ``f(x[n]), .., f(x[n-k+1])``. So a block is handed a *history*:
the states and the slopes of the blocks before it, newest first. An entry is named by its *offset*, 0 for the newest.
One block later the same entry has an offset that is larger by one. For each block a plan answers four questions.

*Is it an Euler step?* The first k - 1 blocks are, because there is no older history yet. Some families also take an
Euler step wherever the width or the stride changes.

*What does it read?* An Euler step reads the state 0 and no older slope. Any other block reads the entries whose
coefficient is not zero.

*What does it hand on?* What a later block reads, and nothing else, because every kept tensor takes memory. An entry is
*live* at a block if that block or a later one reads it. The live entries are found from the last block backwards: what
is live at offset s of one block is live at offset s - 1 of the block before. A history is a list, so a block that hands
on one entry hands on all newer ones.

*What does it project?* Where the width or the stride changes, every live entry, each with a convolution of its own. An
entry that is not live keeps its old shape; no block reads it any more. If block 0 widens the stem's output, the history
may keep that output unprojected (``keeps_stem``). Then the first block that reads it projects it.

Example: ``zerosnet-opt`` reads three states and no older slope. Of two stages with two blocks each, block 2 begins the
second. Block n computes ``x(n+1)`` from ``x(n)`` and its slope ``f(n)``.

    block  step       is handed  reads     projects  hands on
    0      Euler      x0         x0        -         x1 x0
    1      Euler      x1 x0      x1        -         x2 x1 x0
    2      multistep  x2 x1 x0   x2 x1 x0  x2 x1 x0  x3 x2 x1
    3      multistep  x3 x2 x1   x3 x2 x1  -         x4

Block 2 projects all three states, because it reads them, and hands on those two that block 3 reads as well. ``ab3``
reads one state and two older slopes:

    block  step       is handed  reads     projects  hands on
    0      Euler      x0         x0        -         x1, f0
    1      Euler      x1, f0     x1        -         x2, f1 f0
    2      multistep  x2, f1 f0  x2 f1 f0  x2 f1 f0  x3, f2 f1
    3      multistep  x3, f2 f1  x3 f2 f1  -         x4
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Sequence


@dataclass(frozen=True)
class BlockPlan:
    """What one block does with its history. Offsets count from the newest entry that it is handed, which is 0.

    Attributes:
        is_euler: Whether it takes an Euler step.
        reads_states: Offsets of the states in its update.
        reads_slopes: Offsets of the older slopes in its update; 0 is the slope of the block before.
        projects_states: Offsets of the states that it projects to its own width and stride.
        projects_slopes: Likewise for the older slopes.
        unprojected: Offset of the stem's output where that still has the stem's width, None where it has not.
        old_slopes: How many older slopes it is handed.
        keep_states: How many of the states that it was handed it hands on, beside its new one.
        keep_slopes: How many slopes it hands on, its own included.
    """

    is_euler: bool
    reads_states: tuple[int, ...]
    reads_slopes: tuple[int, ...]
    projects_states: tuple[int, ...]
    projects_slopes: tuple[int, ...]
    unprojected: int | None
    old_slopes: int
    keep_states: int
    keep_slopes: int


def plan_history(
    a: Sequence[object],
    b: Sequence[object],
    changes: Sequence[bool],
    euler_at_change: bool = False,
    keeps_stem: bool = False,
) -> list[BlockPlan]:
    """Plan the blocks of a network, all stages in a row.

    Args:
        a: Weights of the k states, newest first. It only counts whether one is zero; a learned one is not.
        b: Weights of the k slopes, newest first, likewise.
        changes: For each block, whether the width or the stride changes there.
        euler_at_change: Whether the blocks in ``changes`` are Euler steps.
        keeps_stem: Whether the history keeps the stem's output unprojected, if block 0 changes the width.

    Returns:
        A plan for each block.
    """
    steps = len(a)
    multistep = [i for i in range(steps) if a[i]], [j - 1 for j in range(1, steps) if b[j]]
    euler = [i < steps - 1 or (euler_at_change and change) for i, change in enumerate(changes)]
    reads_states = [[0] if is_euler else multistep[0] for is_euler in euler]
    reads_slopes = [[] if is_euler else multistep[1] for is_euler in euler]
    live_states, live_slopes = _find_live(reads_states), _find_live(reads_slopes)

    plans = []
    unprojected = None
    for i, change in enumerate(changes):
        if change:
            projects = live_states[i]
        else:
            projects = {unprojected} & set(reads_states[i]) if unprojected is not None else set()
        plans.append(
            BlockPlan(
                is_euler=euler[i],
                reads_states=tuple(reads_states[i]),
                reads_slopes=tuple(reads_slopes[i]),
                projects_states=tuple(sorted(projects)),
                projects_slopes=tuple(sorted(live_slopes[i])) if change else (),
                unprojected=unprojected,
                old_slopes=_count(live_slopes[i]),
                keep_states=max(_count(live_states[i + 1]) - 1, 0),
                keep_slopes=_count(live_slopes[i + 1]),
            )
        )
        if i == 0 and change and keeps_stem:
            unprojected = 1
        elif unprojected is not None:
            done = unprojected in projects or unprojected not in live_states[i]
            unprojected = None if done else unprojected + 1
    return plans


def _find_live(reads: Sequence[Sequence[int]]) -> list[set[int]]:
    """Offsets that each block or a later one reads, and none after the last block."""
    live: list[set[int]] = [set() for _ in range(len(reads) + 1)]
    for i in reversed(range(len(reads))):
        live[i] = set(reads[i]) | {offset - 1 for offset in live[i + 1] if offset > 0}
    return live


def _count(offsets: set[int]) -> int:
    """Length of the shortest history that has all these offsets."""
    return max(offsets, default=-1) + 1
