"""The figures in the sentences of docs/results.md are those of the results."""

import csv

import numpy as np
from places import ROOT


def rows(name):
    with (ROOT / 'benchmarks' / 'results' / name).open(newline='', encoding='utf-8') as file:
        return list(csv.DictReader(file))


def trainings(part):
    """Accuracy under noise of each training of each network."""
    found = {}
    for row in rows('robustness.csv'):
        if row['part'] == part:
            found.setdefault(row['model'].split('_seed')[0], []).append(100 - float(row['mean_error']))
    return found


def test_the_page_says_what_was_measured():
    table = rows('robustness-trainings.csv')
    noisy = [row for row in table if not row['part'].endswith('-clean')]
    every = [trainings(part) for part in dict.fromkeys(row['part'] for row in noisy)]
    three = [[values for values in found.values() if len(values) > 1] for found in every]
    apart = [max(values) - min(values) for groups in three for values in groups]
    means = [[np.mean(values) for values in groups] for groups in three]
    low, high = ([float(row[side]) for row in noisy] for side in ('low', 'high'))
    clean = next(row for row in table if (row['part'], row['b']) == ('cifar10-clean', 'lmresnet20'))
    pairs = rows('robustness-pairs.csv')
    pre, lm = (
        [-float(row['difference']) for row in pairs if row['data'] == 'cifar100' and row['b'] == f'{name}.cifar100']
        for name in ('preresnet20', 'lmresnet20')
    )
    assert max(low) < 0 < min(high) and float(clean['p']) == min(float(row['p']) for row in table)
    text = ' '.join((ROOT / 'docs' / 'results.md').read_text(encoding='utf-8').split())
    for said in (
        f'Trainings of one network are {min(apart):.1f} to {max(apart):.1f} points apart',
        f'the three networks differ by at most {max(max(found) - min(found) for found in means):.1f} points',
        f'to be better by {-max(low):.1f} to {-min(low):.1f} points, '
        f'or zerosnet20 by {min(high):.1f} to {max(high):.1f}.',
        f'mean of zerosnet20 is {float(clean["difference"]):.2f} above that of lmresnet20',
        f'(p {float(clean["p"]):.2f}, corrected for all eight rows {len(table) * float(clean["p"]):.2f})',
        f'by {pre[0]:.1f} points in suite `zerosnet`, by {pre[1]:.1f} in the noise of `cifar-c`',
        f'Against lmresnet20 it is {lm[0]:.1f} (not significant) and {lm[1]:.1f}.',
    ):
        assert said in text, said
