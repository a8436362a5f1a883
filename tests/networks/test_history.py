"""Plans of a network's history, followed entry by entry from block to block; no network is built."""

import itertools
import re

import pytest

from timm_zerosnet import history

METHODS = {  # which weights of the states and of the slopes are not zero
    'euler': ([1], [1]),
    'midpoint': ([0, 1], [1, 0]),
    'zerosnet-opt': ([1, 1, 1], [1, 0, 0]),
    'ab3': ([1, 0, 0], [1, 1, 1]),
    'gaps': ([0, 0, 1, 0], [1, 0, 0, 1]),
    'five': ([1, 0, 1, 0, 1], [1, 1, 0, 0, 0]),
}
LAYERS = [(1, 1, 1), (2, 1, 3), (1, 2, 1), (5, 1, 1), (3, 3), (4,), (6, 2, 2)]
CASES = [(method, layers) for method in METHODS for layers in LAYERS if len(METHODS[method][0]) <= sum(layers)]


def changes_of(layers, widens):
    """Blocks where the width changes: the first of each stage but the first, whose first widens if asked."""
    return [block == 0 and (stage > 0 or widens) for stage, depth in enumerate(layers) for block in range(depth)]


def networks(method, layers):
    """Weights, changes, whether those are Euler steps, and the plans, of all networks of a method and these layers."""
    a, b = METHODS[method]
    for widens, euler_at_change, keeps_stem in itertools.product((False, True), repeat=3):
        changes = changes_of(layers, widens)
        yield a, b, changes, euler_at_change, history.plan_history(a, b, changes, euler_at_change, keeps_stem)


class Entry:
    """A state or a slope, the block that made it, and the width that it has now."""

    def __init__(self, block, width):
        self.block, self.width = block, width
        self.readers = []
        self.last_projection = None


def follow(plans, changes):
    """Hand the history on as planned; returns all entries, and the states and slopes that each block hands on."""
    stem = Entry(-1, 'stem')
    states, slopes, handed_on = [stem], [], []
    entries, width = [stem], 'stem'
    for n, (plan, change) in enumerate(zip(plans, changes, strict=True)):
        width = n if change else width
        assert len(slopes) == plan.old_slopes
        for kind, offsets in ((states, plan.projects_states), (slopes, plan.projects_slopes)):
            for offset in offsets:
                assert kind[offset].width != width
                kind[offset].last_projection = n
                if not (n == 0 and len(plans) > 1 and plans[1].unprojected):  # then it serves this step alone
                    kind[offset].width = width
        for kind, offsets in ((states, plan.reads_states), (slopes, plan.reads_slopes)):
            for offset in offsets:
                assert kind[offset].block == n - 1 - offset
                assert kind[offset].width == width or n == 0
                kind[offset].readers.append(n)
        state, slope = Entry(n, width), Entry(n, width)
        entries += [state, slope]
        states = [state] + states[: plan.keep_states]
        slopes = ([slope] + slopes)[: plan.keep_slopes]
        handed_on.append((list(states), list(slopes)))
    return entries, handed_on


@pytest.mark.parametrize('method, layers', CASES)
def test_an_entry_is_kept_exactly_while_a_later_block_reads_it(method, layers):
    for _, _, changes, _, plans in networks(method, layers):
        entries, handed_on = follow(plans, changes)  # where every block finds what it reads
        for n, (states, slopes) in enumerate(handed_on):
            for old in (states[1:], slopes):  # a list ends with an entry that a later block reads
                assert not old or any(reader > n for reader in old[-1].readers)
        for entry in entries:  # what is projected is read then or later
            assert entry.last_projection is None or any(reader >= entry.last_projection for reader in entry.readers)


@pytest.mark.parametrize('method, layers', CASES)
def test_what_each_block_reads(method, layers):
    for a, b, changes, euler_at_change, plans in networks(method, layers):
        for n, plan in enumerate(plans):
            assert plan.is_euler == (n < len(a) - 1 or (euler_at_change and changes[n]))
            if plan.is_euler:
                assert (plan.reads_states, plan.reads_slopes) == ((0,), ())
            else:
                assert [offset in plan.reads_states for offset in range(len(a))] == [c != 0 for c in a]
                assert [offset in plan.reads_slopes for offset in range(len(b) - 1)] == [c != 0 for c in b[1:]]


def test_a_stem_that_is_kept_is_projected_once_by_the_block_that_reads_it():
    changes = changes_of((4, 2), widens=True)
    plans = history.plan_history([1, 1, 1], [1, 0, 0], changes, keeps_stem=True)
    assert [plan.unprojected for plan in plans] == [None, 1, 2, None, None, None]
    assert [plan.projects_states for plan in plans] == [(0,), (), (2,), (), (0, 1, 2), ()]
    assert all(plan.unprojected is None for plan in history.plan_history([1, 1, 1], [1, 0, 0], changes))


def test_a_kept_stem_that_meets_the_next_stage_is_projected_there():
    plans = history.plan_history([1, 1, 1], [1, 0, 0], changes_of((1, 1, 1), widens=True), keeps_stem=True)
    assert [(plan.unprojected, plan.projects_states) for plan in plans] == [
        (None, (0,)),
        (1, (0, 1)),
        (None, (0, 1, 2)),
    ]


def names(letter, newest, count):
    return [f'{letter}{newest - offset}' for offset in range(count)]


@pytest.mark.parametrize('method', ['zerosnet-opt', 'ab3'])
def test_the_tables_of_the_documentation(method):
    """The worked examples of the module's docstring are what it plans."""
    after = re.split(rf'``{method}``\s+reads', history.__doc__)[1]
    table = after.partition('    block  step')[2].splitlines()[1:5]
    changes = changes_of((2, 2), widens=False)
    plans = history.plan_history(*METHODS[method], changes)
    for n, (line, plan) in enumerate(zip(table, plans, strict=True)):
        states_in = 1 if n == 0 else plans[n - 1].keep_states + 1
        handed = names('x', n, states_in) + names('f', n - 1, plan.old_slopes)
        reads = [f'x{n - i}' for i in plan.reads_states] + [f'f{n - 1 - j}' for j in plan.reads_slopes]
        projects = [f'x{n - i}' for i in plan.projects_states] + [f'f{n - 1 - j}' for j in plan.projects_slopes]
        hands_on = names('x', n + 1, plan.keep_states + 1) + names('f', n, plan.keep_slopes)
        columns = [' '.join(column) or '-' for column in (handed, reads, projects, hands_on)]
        expected = [str(n), 'Euler' if plan.is_euler else 'multistep', *columns]
        assert ' '.join(line.replace(',', '').split()) == ' '.join(expected)
