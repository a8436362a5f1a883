"""The benchmark scripts run in small, and what they compare is the same network."""

import argparse
import csv
import functools
import sys

import accuracy
import bfloat16
import exports
import figures
import memory
import networks
import numpy as np
import pytest
import robustness
import speed_table
import startup
import throughput
import torch
from places import CIFAR10_SAMPLE, ROOT, STAND_IN
from processes import python
from scipy import stats

from timm_zerosnet import weights
from timm_zerosnet.maintain import tables

BENCHMARKS = ROOT / 'benchmarks'


def rows(path):
    with path.open(newline='', encoding='utf-8') as file:
        return list(csv.DictReader(file))


@pytest.fixture
def refused(monkeypatch, tmp_path, capsys):
    def check(script, words, message):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(script, 'measure', None)
        monkeypatch.setattr(sys, 'argv', [script.__file__, *words.split()])
        with pytest.raises(SystemExit, match='2'):
            script.main()
        last = capsys.readouterr().err.splitlines()[-1]
        assert last.startswith(f'{script.__name__}.py: error: ') and message in last
        assert list(tmp_path.iterdir()) == []

    return check


def test_naive_update_gives_the_same_logits_and_gradients():
    images, found = torch.rand(2, 3, 16, 16), []
    for name in ('zerosnet20', 'zerosnet20:naive'):
        network = networks.build(name)
        logits = network(images)
        logits.square().mean().backward()
        found.append((logits, [parameter.grad for parameter in network.parameters()]))
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    'name, message',
    [
        ('zerosnet20_tra:naive', 'expected a multistep network with fixed coefficients'),
        ('authors:20', 'needs --reference DIR'),
    ],
)
def test_networks_that_cannot_be_built(name, message):
    with pytest.raises(ValueError, match=message):
        networks.build(name)


@pytest.mark.parametrize('script', [throughput, memory])
@pytest.mark.parametrize(
    'words, message',
    [
        ('--models zerosnet20:nave', 'expected :naive or nothing after the name of a model, got zerosnet20:nave'),
        ('--models resnet18:naive', 'resnet18:naive: expected a multistep network'),
        ('--models authors:21', 'expected a depth 6 n + 2'),
        ('--models nothing20', 'Unknown model (nothing20)'),
        ('--models zerosnet20 --device tpu', '--device: expected cpu or cuda, got tpu'),
        ('--models zerosnet20 --repeat 0', "expected an integer >= 1, got '0'"),
        ('--models zerosnet20 --img-size -3', "expected an integer >= 1, got '-3'"),
        ('--models zerosnet20 --csv none/out.csv', 'none is not a folder'),
        ('--models zerosnet20 --plot out.foo', "got '.foo'"),
    ],
)
def test_bad_input_is_refused_before_anything_is_measured(script, words, message, refused):
    refused(script, words, message)


@pytest.mark.parametrize(
    'words, message',
    [
        ('--baseline preresnet20', 'zerosnet20 infer has no baseline: preresnet20 infer is not measured'),
        ('--against zerosnet20 infer-bf16', 'zerosnet20 infer-bf16 is not measured'),
        ('--against zerosnet20 infer --baseline zerosnet20', 'not allowed with argument'),
    ],
)
def test_baselines_that_are_not_measured(words, message, refused):
    refused(throughput, f'--models zerosnet20 {words}', message)


@pytest.mark.parametrize('against', [None, pytest.param(('slow', 'infer'), marks=pytest.mark.slow)])
def test_ratios_are_those_of_the_times(against, monkeypatch):
    seconds = {('fast', 'infer'): 0.01, ('slow', 'infer'): 0.03, ('fast', 'train'): 0.02, ('slow', 'train'): 0.04}

    def contender(name, mode, *args):
        return lambda: seconds[name, mode], {'param_count': 1, 'gmacs': 0.5, 'traffic': 1e9}

    def timed(step, device):
        if isinstance(step, functools.partial):  # the large convolution and the copy
            return 1e-3
        out = step()
        return sum(out) if isinstance(out, list) else out

    monkeypatch.setattr(throughput, 'contender', contender)
    monkeypatch.setattr(throughput, '_timed', timed)
    args = argparse.Namespace(
        models=['fast', 'slow'], modes=['infer', 'train'], batch_size=[4], img_size=[8], device='cpu', repeat=4,
        warmup=1, seconds=0.02, against=against, baseline=None, channels_last=False, compile_mode='default',
    )  # fmt: skip
    wanted = {key: seconds[against or ('fast', key[1])] / value for key, value in seconds.items()}
    for row in throughput.measure(args):
        key = row['model'], row['mode']
        assert float(row['ratio']) == pytest.approx(wanted[key], abs=1e-3)
        assert float(row['samples_per_sec']) == pytest.approx(4 / seconds[key], abs=0.06)
        gflops, bandwidth = 2 * 16 * 128 * 128 * 9 * 56**2 / 1e-3 / 1e9, 2 * 2**26 * 4 / 1e-3 / 1e9
        assert float(row['gflops_share']) == pytest.approx(4 / seconds[key] / gflops, abs=1e-3)
        assert float(row['traffic_share']) == pytest.approx(1 / seconds[key] / bandwidth, abs=1e-3)


@pytest.mark.slow
def test_throughput_in_small(tmp_path):
    words = '--models zerosnet20 zerosnet20:naive --modes infer infer-fused train --img-size 16 --batch-size 2 4'
    more = '--repeat 2 --warmup 1 --seconds 0.01 --device cpu --csv out.csv --plot out.svg'
    done = python(BENCHMARKS / 'throughput.py', *words.split(), *more.split(), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = rows(tmp_path / 'out.csv')
    assert len(found) == 2 * 5  # the naive update has no fused mode
    for row in found:
        rate, milliseconds = float(row['samples_per_sec']), float(row['step_time'])
        assert rate * milliseconds == pytest.approx(1000 * int(row['batch_size']), rel=0.01)
        assert float(row['step_time_q1']) <= milliseconds <= float(row['step_time_q3'])
        assert (row['against'], row['img_size']) == (f'zerosnet20 {row["mode"]}', '16')
        assert row['model'] != 'zerosnet20' or row['ratio'] == '1.000'
    costs = {(row['model'], row['mode'], row['batch_size']): float(row['gmacs']) for row in found}
    assert costs['zerosnet20', 'infer', '2'] == costs['zerosnet20', 'infer', '4'] == pytest.approx(0.0413 / 4, rel=0.02)
    assert costs['zerosnet20', 'train', '2'] > 2 * costs['zerosnet20', 'infer', '2']
    assert '<svg' in (tmp_path / 'out.svg').read_text(encoding='utf-8')


@pytest.mark.parametrize('mode', ['infer-bf16', 'train-bf16'])
def test_bfloat16_steps(mode):
    args = argparse.Namespace(reference=None, device='cpu', channels_last=False, compile_mode='default')
    found = {}
    for other in (mode, mode.removesuffix('-bf16')):
        step, found[other] = throughput.contender('zerosnet20', other, args, 2, 16)
        step()
    half, whole = found.values()
    assert half['gmacs'] == whole['gmacs'] > 0 and half['traffic'] != whole['traffic']


def test_exports_document_is_that_of_the_results():
    text = exports.DOCUMENT.read_text(encoding='utf-8')
    assert exports.document(text, rows(exports.RESULTS)) == text


def test_speed_table_is_that_of_the_results():
    text = speed_table.DOCUMENT.read_text(encoding='utf-8')
    assert speed_table.document(text) == text
    found = {(row['model'], row['mode']): row for row in rows(speed_table.RESULTS / 'throughput-depth20.csv')}
    paired = 1 / float(found['authors:20', 'train']['ratio'])
    assert f"| training step | the authors', float32 | {paired:.2f} x (" in text
    rates = [float(found[key]['samples_per_sec']) for key in (('zerosnet20', 'infer-bf16'), ('authors:20', 'infer'))]
    assert f"| inference, bfloat16 | the authors', float32, eager | {rates[0] / rates[1]:.2f} x |" in text


def test_bfloat16_table_is_that_of_the_results():
    text = bfloat16.DOCUMENT.read_text(encoding='utf-8')
    assert bfloat16.document(text) == text
    for row in rows(bfloat16.RESULTS):
        whole = int(row['images']) == 10_000
        assert whole or int(row['images']) >= 2000
        assert not whole or float(row['float32_top1']) == weights.manifest()[row['weight']]['top1']


def test_bfloat16_in_small(tmp_path, monkeypatch):
    document, results = tmp_path / 'performance.md', tmp_path / 'bfloat16.csv'
    document.write_text('before\n<!-- bfloat16:begin -->\nold\n<!-- bfloat16:end -->\nafter', encoding='utf-8')
    monkeypatch.setattr(bfloat16, 'DOCUMENT', document)
    monkeypatch.setattr(bfloat16, 'RESULTS', results)
    sample = np.load(CIFAR10_SAMPLE)
    np.savez(tmp_path / 'cifar10.npz', x_test=sample['x_test'], y_test=sample['y_test'])
    words = ['--data-dir', str(tmp_path), '--models', 'zerosnet20.cifar10', '--device', 'cpu', '--limit']
    for limit, images in (('3', '3'), ('2', '3'), ('5', '5')):  # fewer images replace none
        monkeypatch.setattr(sys, 'argv', ['bfloat16.py', *words, limit])
        bfloat16.main()
        (row,) = rows(results)
        assert (row['weight'], row['images']) == ('zerosnet20.cifar10', images)
    assert float(row['float32_top1']) % 20 == float(row['bfloat16_top1']) % 20 == 0
    before, *table, after = document.read_text(encoding='utf-8').splitlines()
    assert (before, after) == ('before', 'after') and '| `zerosnet20.cifar10` | 5 | ' in table[3]


def test_startup_rows_are_those_of_the_processes(tmp_path, monkeypatch):
    def seconds(code, *words, **environment):
        return {'zerosnet20': 0.3, 'resnet18': 0.2}[words[0]] if words else 1.0 if environment else 1.5

    monkeypatch.setattr(startup, 'seconds', seconds)
    monkeypatch.setattr(startup, 'plugin_share', lambda: 0.15)
    words = ['--repeat', '2', '--models', 'zerosnet20', 'resnet18', '--csv', str(tmp_path / 'out.csv')]
    monkeypatch.setattr(sys, 'argv', ['startup.py', *words])
    startup.main()
    found = {row['what']: row for row in rows(tmp_path / 'out.csv')}
    assert {what: (row['ms'], row['ratio']) for what, row in found.items()} == {
        'import timm': ('1000.0', ''),
        'import timm, plugin installed': ('1500.0', '1.500'),
        'modules of the plugin in it': ('150.0', '0.100'),
        "create_model('zerosnet20', pretrained=True)": ('300.0', ''),
        "create_model('resnet18')": ('200.0', ''),
    }


@pytest.mark.slow
def test_startup_is_measured_in_new_processes():
    whole, share = startup.seconds(startup.IMPORT), startup.plugin_share()
    assert 0 < share < whole and startup.seconds(startup.CREATE, 'zerosnet20', '1') > 0


@pytest.mark.slow
def test_memory_in_small(tmp_path):
    words = '--models zerosnet20 zerosnet110 --modes train --batch-size 16 --img-size 32 --repeat 1 --device cpu'
    done = python(BENCHMARKS / 'memory.py', *words.split(), '--csv', 'out.csv', cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    shallow, deep = rows(tmp_path / 'out.csv')
    assert shallow['ratio'] == '1.000' and 2 < float(deep['ratio']) < 8
    assert 2 < float(deep['step_seconds']) / float(shallow['step_seconds']) < 12


def test_accuracy_is_measured_where_the_file_is_new(monkeypatch, tmp_path):
    weights = {name: {'sha256': name[-1], 'data': 'cifar10'} for name in ('one', 'two', 'zero')}
    monkeypatch.setattr(accuracy, 'manifest', lambda: weights)
    monkeypatch.setattr(accuracy, 'RESULTS', tmp_path / 'accuracy.csv')
    monkeypatch.setattr(accuracy, 'measure', lambda name, args: {'weight': name, 'sha256': name[-1], 'by': 'new'})
    accuracy.RESULTS.write_text('weight,sha256,by\none,e,old\nthree,x,old\nother,o,old\n', encoding='utf-8')
    monkeypatch.setattr(sys, 'argv', ['accuracy.py', '--data-dir', str(tmp_path)])
    accuracy.main()
    assert [(row['weight'], row['by']) for row in rows(accuracy.RESULTS)] == [
        ('one', 'old'),
        ('two', 'new'),
        ('zero', 'new'),
    ]


@pytest.mark.slow
def test_accuracy_without_data_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv('TIMM_SCRIPTS', str(STAND_IN))
    (tmp_path / 'cifar10').mkdir()
    with pytest.raises(SystemExit, match='zerosnet20.cifar10: timm-zerosnet validate: Found 0 images in .*cifar10'):
        accuracy.validate_with_timm(
            'zerosnet20.cifar10',
            'cifar10',
            argparse.Namespace(data_dir=tmp_path, download=False, timm_scripts=None, device='cpu'),
        )


@pytest.fixture
def in_small(monkeypatch, tmp_path):
    """benchmarks/robustness.py with 12 random images, one part of one kind of noise and two networks."""
    monkeypatch.setattr(robustness, 'RESULTS', tmp_path / 'results')
    monkeypatch.setattr(robustness, 'PARTS', robustness.PARTS[:1])
    monkeypatch.setattr(robustness.Part, 'corruptions', ['const'])
    monkeypatch.setattr(robustness, 'BASELINE', None)  # it would write the packaged table
    monkeypatch.setattr(robustness, 'NETWORKS', ('zerosnet20', 'preresnet20'))
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
    np.savez(tmp_path / 'cifar10.npz', x_test=images, y_test=draw.integers(0, 10, 12))
    (tmp_path / 'results').mkdir()

    def start(*words):
        argv = [
            'robustness.py',
            '--data-dir',
            str(tmp_path),
            '--runs',
            str(tmp_path / 'runs'),
            '--workers',
            '0',
            *words,
        ]
        monkeypatch.setattr(sys, 'argv', argv)
        robustness.main()
        return tmp_path / 'results'

    return start


def manifest_with(monkeypatch, **top1):
    """The manifest of these weights alone, NAME_seedN as the tag cifar10_seedN."""
    like = {**robustness.manifest()['zerosnet20.cifar10'], 'recipe': robustness.RECIPE}
    found = {}
    for name, value in top1.items():
        network, _, seed = name.partition('_seed')
        found[f'{network}.cifar10' + (f'_seed{seed}' if seed else '')] = {**like, 'top1': value}
    monkeypatch.setattr(robustness, 'manifest', lambda: found)


def test_robustness_compares_networks_and_leaves_out_what_one_training_cannot_say(in_small, monkeypatch):
    manifest_with(monkeypatch, zerosnet20=91, preresnet20=90, preresnet20_seed1=91)
    monkeypatch.setattr(robustness, 'models_of', lambda data: ['zerosnet20.cifar10', 'preresnet20.cifar10'])
    results = in_small()
    assert sorted(path.name for path in results.iterdir()) == ['robustness', 'robustness-pairs.csv', 'robustness.csv']
    assert [row['model'] for row in rows(results / 'robustness.csv')] == ['zerosnet20.cifar10', 'preresnet20.cifar10']
    (pair,) = rows(results / 'robustness-pairs.csv')
    assert (pair['a'], pair['b'], pair['images']) == ('zerosnet20.cifar10', 'preresnet20.cifar10', '12')
    difference = float(pair['accuracy_a']) - float(pair['accuracy_b'])
    assert float(pair['difference']) == pytest.approx(difference, abs=1e-3)


def test_networks_are_compared_by_one_recipe_and_depths_by_default_weights(monkeypatch):
    short, long = ({'data': 'cifar10', 'recipe': f'{name}.yaml'} for name in ('short', 'long'))
    names = ('lmresnet20.cifar10', 'zerosnet20.cifar10_short', 'zerosnet20.cifar10_short_seed1', 'zerosnet56.cifar10')
    found = {**dict.fromkeys(names, short), 'zerosnet110.cifar10': long, 'zerosnet20.cifar10': long}
    monkeypatch.setattr(robustness, 'manifest', lambda: found)
    assert robustness.models_of('cifar10') == [*names[1:3], names[0]]
    assert robustness.depths_of('cifar10') == [f'zerosnet{depth}.cifar10' for depth in (20, 56, 110)]
    assert robustness.models_of('cifar100') == robustness.depths_of('cifar100') == []


def test_depths_are_measured_without_being_compared(in_small, monkeypatch):
    monkeypatch.setattr(
        robustness,
        'PARTS',
        [
            robustness.Part(f'cifar10-{noise}-depths', 'cifar10', 'zerosnet', depths=True)
            for noise in ('zerosnet', 'noise')
        ],
    )
    monkeypatch.setattr(robustness, 'depths_of', lambda data: ['zerosnet20.cifar10', 'zerosnet56.cifar10'])
    results = in_small()
    assert 'robustness-pairs.csv' not in [path.name for path in results.iterdir()]
    first = rows(results / 'robustness.csv')[0]
    noisy, least, most = (f'{100 - float(first["mean_error" + end]):.2f}' for end in ('', '_high', '_low'))
    cell = f'{noisy} ({least} to {most})'
    header, _, line, other = tables.depths_table(results / 'robustness.csv').splitlines()
    assert line == f'| CIFAR-10 | `zerosnet20.cifar10` | {float(first["clean"]):.2f} | {cell} | {cell} |'
    assert '`zerosnet56.cifar10`' in other


def test_trainings_are_compared_by_welch(in_small, monkeypatch):
    ours, theirs = [91.0, 91.4, 91.1], [90.5, 90.9]
    manifest_with(
        monkeypatch,
        zerosnet20=ours[0],
        zerosnet20_seed1=ours[1],
        preresnet20=theirs[0],
        zerosnet20_seed2=ours[2],
        preresnet20_seed1=theirs[1],
    )
    path = in_small('--part') / 'robustness-trainings.csv'
    (row,) = rows(path)
    welch = stats.ttest_ind(ours, theirs, equal_var=False)
    low, high = welch.confidence_interval()
    expected = [np.mean(ours) - np.mean(theirs), low, high, welch.pvalue, np.std(ours, ddof=1)]
    keys = ('difference', 'low', 'high', 'p', 'sd_a')
    assert [float(row[key]) for key in keys] == pytest.approx(expected, rel=1e-4)
    shown = tables.trainings_table(path)
    assert '| CIFAR-10, clean | `zerosnet20` | `preresnet20` | 3, 2 | 91.17 (0.21) | 90.70 (0.28) |' in shown


def test_no_difference_under_noise_is_shown_between_trainings():
    """The README says so: every interval under noise holds zero, and no p is small enough for all rows."""
    table = rows(figures.ROBUSTNESS.with_name('robustness-trainings.csv'))
    noisy = [row for row in table if not row['part'].endswith('-clean')]
    assert noisy and all(float(row['low']) < 0 < float(row['high']) for row in noisy)
    assert min(float(row['p']) for row in table) * len(table) > 0.05


def test_the_picture_shows_the_trainings_of_the_table():
    table = rows(figures.ROBUSTNESS.with_name('robustness-trainings.csv'))
    for row in table:
        found = figures.accuracies(row['part'])
        for side in 'ab':
            values = found[row[side]]
            assert str(len(values)) == row[f'trainings_{side}']
            assert np.mean(values) == pytest.approx(float(row[f'mean_{side}']), abs=1e-3)
            assert np.std(values, ddof=1) == pytest.approx(float(row[f'sd_{side}']), abs=1e-3)
    assert {row['part'] for row in table} == {f'cifar10-{noise}' for noise in tables.NOISES}
    dots = [line for axes in figures.noise().axes for line in axes.lines if line.get_marker() == 'o']
    assert sum(len(line.get_xdata()) for line in dots) == sum(
        len(values) for noise in tables.NOISES for values in figures.accuracies(f'cifar10-{noise}').values()
    )


def test_the_picture_of_depths_leaves_other_recipes_out(monkeypatch):
    long, zoo = ({'recipe': f'{recipe}.yaml', 'top1': 95.0} for recipe in ('long', 'zoo'))
    monkeypatch.setattr(figures, 'manifest', lambda: {'zerosnet164.cifar10': zoo, 'zerosnet326.cifar10': long})
    assert list(figures.accuracies_by_depth().values())[:2] == [{326: 95.0}, {}]


def test_the_picture_of_depths_shows_the_weights():
    series = figures.accuracies_by_depth()
    for depth, top1 in series['zerosnet, long'].items():
        trained = [row for name, row in weights.manifest().items() if name.startswith(f'zerosnet{depth}.cifar10')]
        assert top1 == np.mean([row['top1'] for row in trained if row['recipe'] == 'long.yaml'])
    shown = sorted(set().union(*series.values()))
    drawn = [dict(zip(line.get_xdata(), line.get_ydata(), strict=True)) for line in figures.depths().axes[0].lines]
    assert drawn == [{shown.index(depth): top1 for depth, top1 in values.items()} for values in series.values()]


@pytest.mark.parametrize('name', figures.SOURCES)
def test_pictures_are_drawn_from_todays_results(name):
    assert figures.drawn_from(name)['Description'] in (figures.DOCS / f'{name}.svg').read_text(encoding='utf-8')
