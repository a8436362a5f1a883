"""What is asked of the study's table, and the answers: statistics with intervals over sets and seeds."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from fractions import Fraction
from itertools import combinations
from typing import Any, Callable, Iterable, Mapping, NamedTuple, Sequence

import numpy as np
from numpy.typing import NDArray

from study.intervals import (
    Estimate,
    agreement,
    by_set,
    difference,
    estimate,
    explained,
    explained_beyond,
    kendall,
    residuals,
    spearman,
    spearman_difference,
)
from study.sets import SETS, derived
from study.table import COMMON

Row = Mapping[str, str]
NOISES = ('rand_0.2_accuracy', 'randn_0.1_accuracy', 'uniform_0.1_accuracy')
OUTCOMES: dict[str, Callable[[Row], float]] = {
    'test error': lambda row: 100 - float(row['test_accuracy']),
    'generalisation gap': lambda row: float(row['train_accuracy']) - float(row['test_accuracy']),
    'error under noise': lambda row: 100 - float(np.mean([float(row[name]) for name in NOISES])),
}
"""What a run is judged by, percentage points; less is better. The gap is training minus test accuracy."""


def slope_weights(row: Row) -> NDArray[np.float64]:
    """With which weight each block's slope is in the last state, the first block first; shape (blocks,).

    As in the networks, the first k - 1 blocks of a method with k states are Euler steps. What the networks do between
    stages is left out: there, each state that is kept goes through a convolution of its own.
    """
    a, b = ([float(Fraction(c)) for c in row[key].split()] for key in ('a', 'b'))
    blocks = (int(row['depth']) - 2) // 2
    slopes = np.eye(blocks)
    states = [np.zeros(blocks)]
    for i in range(blocks):
        if i < len(a) - 1:
            states.append(states[-1] + slopes[i])
        else:
            kept = sum(c * states[-1 - j] for j, c in enumerate(a))
            states.append(kept + sum(c * slopes[i - j] for j, c in enumerate(b)))
    return states[-1]


def equal_slopes(row: Row) -> float:
    """How far blocks are from adding up if all slopes are 1: ``|ln(y / n)|`` of the last state y after n blocks.

    It is 0 for consistent methods, and infinite where the slopes cancel out.
    """
    weights = slope_weights(row)
    with np.errstate(divide='ignore'):  # a mean of rounding errors is 0
        return abs(float(np.log(np.abs(np.mean(weights)).round(12))))


def independent_slopes(row: Row) -> float:
    """How far they are from adding up when slopes are independent: ``|ln g|``, g the last state's rms over Euler's."""
    return abs(float(np.log(np.sqrt(np.mean(slope_weights(row) ** 2)))))


def last_block(row: Row) -> float:
    """How little the last block counts: ``-ln`` of its slope's weight in the last state over all weights' norm."""
    weights = slope_weights(row)
    return float(np.log(np.linalg.norm(weights)) - np.log(abs(weights[-1])))


SUGGESTED_BY = frozenset(
    'first(0.5) first(0.8) first(0.9) euler first(1.05) first(1.1) lm(-0.2) lm(0) lm(0.5) lm(1.5) lm(2) lm(2.2) '
    'zerosnet-opt midpoint zerosnet(-0.9) zerosnet(-0.5) all-ones ab2'.split()
)
"""The sets whose first runs suggested ``equal_slopes`` and ``independent_slopes``.

Sets of other families, other seeds and depths put these predictors to the test.
"""
SUGGESTED_LAST_BLOCK_BY = SUGGESTED_BY | frozenset(
    'lm(1.1) lm(1.9) zerosnet(-3) zerosnet(inf) zerosnet(1) zerosnet(0.4) zerosnet(-1/3) zerosnet(0.2) ab3 '
    'momentum(0.5) momentum(0.9) optimal(4)'.split()
)
"""The same for ``last_block``, which was thought of later."""


def _any(row: Row) -> bool:
    return True


def _of_other_families(sets: Iterable[str]) -> Callable[[Row], bool]:
    """Tells whether a row's set shares its ``a`` with none of these sets."""
    seen = {derived(SETS[name].method)['a'] for name in sets}
    return lambda row: row['a'] not in seen


def _stable(row: Row) -> bool:
    return row['zero_stable'] == '1'


def _modulus(row: Row) -> float:
    return float(row['spectral_radius'])


def _parasitic(row: Row) -> float:
    return float(row['parasitic_radius'])


def _has_parasitic(row: Row) -> bool:
    return row['parasitic_radius'] != ''


PREDICTORS: dict[str, tuple[Callable[[Row], float], Callable[[Row], bool]]] = {  # the second one: of which sets
    'largest modulus': (_modulus, _any),
    'largest modulus, unstable methods': (_modulus, lambda row: not _stable(row)),
    'parasitic radius': (_parasitic, _has_parasitic),
    'parasitic radius, stable methods': (_parasitic, lambda row: _has_parasitic(row) and _stable(row)),
    'equal slopes': (equal_slopes, _any),
    'independent slopes': (independent_slopes, _any),
    'last block': (last_block, _any),
    'equal slopes, other families A': (equal_slopes, _of_other_families(SUGGESTED_BY)),
    'independent slopes, other families A': (independent_slopes, _of_other_families(SUGGESTED_BY)),
    'largest modulus, other families A': (_modulus, _of_other_families(SUGGESTED_BY)),
    'last block, other families B': (last_block, _of_other_families(SUGGESTED_LAST_BLOCK_BY)),
    'largest modulus, other families B': (_modulus, _of_other_families(SUGGESTED_LAST_BLOCK_BY)),
}
CONFOUNDS = ('b0', 'order', 'sum_a')
MODULI = ('spectral_radius', 'zero_stable')
KENDALL = 'Kendall tau-b'
IN_MAIN_RUNS = 'unstable minus stable, the same in the main runs'
CHANGE = 'unstable minus stable, change from the main runs'
LEAST = 8
"""Fewer sets than this are not compared, nor sets that are all at chance."""
LEAST_OF_A_SIDE = 3
"""Families, stable ones and unstable ones; with two, intervals say nothing."""
LEAST_OF_PILOT = 5
"""Sets of the pilot, which has ten and gives no intervals."""
SETS_PER_PREDICTOR = 5
"""With fewer, a regression explains whatever it is given."""


class Group(NamedTuple):
    """What runs have in common that are compared with each other."""

    data: str
    depth: int
    recipe: str
    images: int
    precision: str

    @property
    def text(self) -> str:
        """Such as ``'cifar10, depth 20, 125,000 images'``, with the recipe where it is not the standard one."""
        parts = [self.data, f'depth {self.depth}', f'{self.images:,} images']
        return ', '.join(parts + [name for name in (self.recipe, self.precision) if name not in COMMON])


def comparable(rows: Sequence[Row]) -> dict[Group, list[Row]]:
    """The runs that were tested on test images, by group."""
    found: dict[Group, list[Row]] = {}
    for row in rows:
        if row['split'] == 'test':
            group = Group(row['data'], int(row['depth']), row['recipe'], int(row['images']), row['precision'])
            found.setdefault(group, []).append(row)
    return found


def main_group(groups: Mapping[Group, Sequence[Row]]) -> Group:
    """The group that figures and short tables are of: the standard recipe on CIFAR-10 at depth 20 where it is there."""

    def place(group: Group) -> tuple[bool, bool, bool, int]:
        return group.recipe == 'standard', group.data == 'cifar10', group.depth == 20, len(groups[group])

    return max(groups, key=place)


def families(rows: Sequence[Row]) -> dict[str, str]:
    """The family of each set: sets of one ``a`` have equal roots and are no independent methods."""
    return {row['set']: row['a'] for row in rows}


def _number(row: Row, column: str) -> float:
    return float(row[column]) if row[column] != '' else 0.0  # an order that does not exist: not consistent


def _answer(question: str, outcome: str, selection: str, statistic: str, found: Estimate) -> dict[str, Any]:
    return {'question': question, 'outcome': outcome, 'sets_compared': selection, 'statistic': statistic} | asdict(
        found
    )


def correlations(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Rank correlation of each predictor with each outcome: positive where more of it goes with a worse outcome."""
    found = []
    for selection, (predictor, chosen) in PREDICTORS.items():
        kept = [row for row in rows if chosen(row)]
        predictors = {row['set']: [predictor(row)] for row in kept}
        if len(predictors) < LEAST:
            continue
        for outcome, figure in OUTCOMES.items():
            for name, statistic in (('Spearman', spearman), (KENDALL, kendall)):
                answer = estimate(predictors, by_set(kept, figure), statistic, families(kept))
                found.append(_answer('does it rank the methods?', outcome, selection, name, answer))
    return found


def against_largest_modulus(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """By how much other predictors rank the methods better than the largest modulus does."""
    found = []
    for predictor in ('independent slopes', 'last block', 'last block, other families B'):
        value, chosen = PREDICTORS[predictor]
        kept = [row for row in rows if chosen(row)]
        pairs = {row['set']: [value(row), _modulus(row)] for row in kept}
        if len(pairs) < LEAST:
            continue
        for outcome, figure in OUTCOMES.items():
            answer = estimate(pairs, by_set(kept, figure), spearman_difference, families(kept))
            selection = f'{predictor} minus largest modulus'
            found.append(_answer('does it rank them better?', outcome, selection, 'Spearman, difference', answer))
    return found


def between_seeds(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """How far single seeds rank the methods alike: the mean rank correlation over all pairs of seeds."""
    found = []
    for selection, chosen in (
        ('one seed against another', _any),
        ('one seed against another, stable methods with root 1', lambda row: _stable(row) and _has_parasitic(row)),
    ):
        runs = {(row['set'], row['seed']): row for row in rows if chosen(row)}
        counts = Counter(seed for _, seed in runs)
        seeds = [seed for seed, sets in counts.items() if sets >= LEAST]
        names = [
            name for name in dict.fromkeys(name for name, _ in runs) if all((name, seed) in runs for seed in seeds)
        ]
        if len(seeds) < 2 or len(names) < LEAST:
            continue
        for outcome, figure in OUTCOMES.items():
            figures = {name: [figure(runs[name, seed]) for seed in seeds] for name in names}
            answer = estimate(figures, figures, agreement, families(rows))
            found.append(_answer('how much is chance?', outcome, selection, 'Spearman, mean of pairs', answer))
    return found


def change_of_difference(rows: Sequence[Row], others: Sequence[Row]) -> list[dict[str, Any]]:
    """How far unstable sets are behind stable ones in the main runs of equal sets and seeds, and how that changes.

    Args:
        rows: The main runs.
        others: Those that they are compared with.
    """
    found = []
    for outcome, figure in OUTCOMES.items():
        main = {(row['set'], row['seed']): figure(row) for row in rows}
        before: dict[str, list[float]] = {}
        changes: dict[str, list[float]] = {}
        for row in others:
            if (value := main.get((row['set'], row['seed']))) is not None:
                before.setdefault(row['set'], []).append(value)
                changes.setdefault(row['set'], []).append(figure(row) - value)
        kept = [row for row in others if row['set'] in changes]
        for selection, outcomes in ((IN_MAIN_RUNS, before), (CHANGE, changes)):
            found += _difference('does it change?', outcome, selection, kept, outcomes)
    return found


def stable_against_unstable(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Mean outcome of unstable sets minus that of stable ones, of all and of the mildly unstable (root below 1.25)."""
    found = []
    for selection, limit in (('unstable', np.inf), ('unstable with roots below 1.25', 1.25)):
        kept = [row for row in rows if row['zero_stable'] == '1' or float(row['spectral_radius']) < limit]
        if len(kept) == len(rows) and limit < np.inf:
            continue  # all are mild, which is said already
        for outcome, figure in OUTCOMES.items():
            if len({figure(row) for row in kept}) > 1:
                compared = f'{selection} minus stable'
                found += _difference('are unstable methods worse?', outcome, compared, kept, by_set(kept, figure))
    return found


def _difference(
    question: str, outcome: str, selection: str, rows: Sequence[Row], outcomes: Mapping[str, Sequence[float]]
) -> list[dict[str, Any]]:
    """Unstable minus stable; no answer for few sets, or few families on a side."""
    unstable = {row['set']: row['zero_stable'] == '0' for row in rows}
    sides = {(unstable[name], family) for name, family in families(rows).items()}
    fewest = min(sum(side == flag for side, _ in sides) for flag in (True, False))
    if len(unstable) < LEAST or fewest < LEAST_OF_A_SIDE:
        return []
    found = difference(unstable, outcomes, families(rows))
    return [_answer(question, outcome, selection, 'difference, points', found)]


def regression(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """How much of the ranks b0, order and the sum of a explain, and what the moduli add to them."""
    columns = (*CONFOUNDS, *MODULI)
    predictors = {row['set']: [_number(row, column) for column in columns] for row in rows}
    if len(predictors) < SETS_PER_PREDICTOR * len(columns):
        return []
    found = []
    for outcome, figure in OUTCOMES.items():
        outcomes = by_set(rows, figure)
        confounds = {name: values[: len(CONFOUNDS)] for name, values in predictors.items()}
        for selection, x, statistic in (
            (', '.join(CONFOUNDS), confounds, explained),
            ('largest modulus and zero stability beside them', predictors, explained_beyond(len(CONFOUNDS))),
        ):
            answer = estimate(x, outcomes, statistic, families(rows))
            found.append(_answer('what is left for the moduli?', outcome, selection, 'adjusted R2 of ranks', answer))
    return found


def failures(rows: Sequence[Row], count: int = 5) -> list[tuple[str, float, float]]:
    """The sets whose test error is farthest from what their largest modulus predicts.

    Returns:
        (set, mean test error %, ranks by which it is worse (positive) or better than predicted), farthest first.
    """
    outcomes = by_set(rows, OUTCOMES['test error'])
    radius = {row['set']: float(row['spectral_radius']) for row in rows}
    names = list(outcomes)
    errors = np.array([np.mean(outcomes[name]) for name in names])
    off = residuals(np.array([[radius[name] for name in names]]), errors[None])[0]
    order = np.argsort(-np.abs(off), kind='stable')[:count]
    return [(names[i], float(errors[i]), float(off[i])) for i in order]


def same_roots(rows: Sequence[Row]) -> list[tuple[str, float, float, float]]:
    """Sets of one ``a`` that differ in b0: (first set of the family, b0, mean test error %, deviation over seeds)."""
    outcomes = by_set(rows, OUTCOMES['test error'])
    known = {row['set']: row for row in rows}
    members: dict[str, list[str]] = {}
    for name, family in families(rows).items():
        if not any(c != '0' for c in known[name]['b'].split()[1:]):  # with older slopes, b0 alone says little
            members.setdefault(family, []).append(name)
    found = []
    for names in members.values():
        for name in names if len(names) > 1 else ():
            values = outcomes[name]
            spread = float(np.std(values, ddof=1)) if len(values) > 1 else float('nan')
            found.append((names[0], float(known[name]['b0']), float(np.mean(values)), spread))
    return sorted(found)


def lengths(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Of the pilot: rank correlations of test errors between the runs of two lengths, and of two seeds of one length.

    Each side is one seed at one length, since means over seeds would agree better than single runs can.
    """
    error = OUTCOMES['test error']
    runs = {(int(row['images']), int(row['seed']), row['set']): error(row) for row in rows}
    stable = {row['set'] for row in rows if row['zero_stable'] == '1'}
    pairs = combinations(sorted({key[:2] for key in runs}), 2)
    sides = sorted(pairs, key=lambda pair: pair[0][0] != pair[1][0])  # those of one length first
    found = []
    for selection, names in (('all', {row['set'] for row in rows}), ('stable ones', stable)):
        for first, second in sides:
            both = sorted(name for name in names if (*first, name) in runs and (*second, name) in runs)
            x, y = (np.array([[runs[(*side, name)] for name in both]]) for side in (first, second))
            value = float(spearman(x, y)[0]) if len(both) >= LEAST_OF_PILOT else float('nan')
            sides_said = {'first': _side(*first), 'second': _side(*second)}
            found.append({'sets_compared': selection, **sides_said, 'spearman': value, 'sets': len(both)})
    return found


def _side(images: int, seed: int) -> str:
    return f'{images}, seed {seed}'
