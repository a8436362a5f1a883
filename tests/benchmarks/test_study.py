"""The study's trainer: crops, same bits twice, killed and resumed; its sets; its table."""

import csv
import math
import os
import signal
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from amounts import slow_but
from places import ROOT
from processes import FORKS, fork, python
from study.data import Draws, crop, load, padded, resize
from study.sets import DEEP, PILOT, ROWS, SETS, CoefficientSet, derived
from study.table import Job, append, done
from study.training import RECIPE, RECIPES, Recipe, Sizes, build, train

from timm_zerosnet import MultistepMethod, parse_method

TINY = Recipe(batch_size=16, sizes=((8, 0.5), (12, 1.0)), train_tested=40, check=2)
JOB = Job('zerosnet-opt', depth=20, data='tiny', holdout=0, images=12 * 16, seed=0)
TIMES = ('seconds', 'images_per_second')


@pytest.fixture(scope='module')
def npz(tmp_path_factory):
    draw = np.random.default_rng(0)
    path = tmp_path_factory.mktemp('study') / 'tiny.npz'
    np.savez(
        path,
        x_train=draw.integers(0, 256, (160, 16, 16, 3), dtype=np.uint8),
        y_train=np.arange(160, dtype=np.uint8) % 4,
        x_test=draw.integers(0, 256, (20, 16, 16, 3), dtype=np.uint8),
        y_test=np.arange(20, dtype=np.uint8) % 4,
    )
    return path


@pytest.fixture(scope='module')
def data(npz):
    return Sizes(load(npz))


@pytest.fixture(scope='module', autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope='module')
def whole(data, tmp_path_factory):
    """The row of a run that nobody interrupts."""
    return train(JOB, data, tmp_path_factory.mktemp('whole') / 'run.pt', TINY)


def untimed(row):
    return {key: str(value) for key, value in row.items() if key not in TIMES}


@pytest.mark.parametrize('size', [8, 12, 16, 32])
def test_crops_and_flips_are_those_of_a_loop_over_images(size):
    x = torch.randint(1, 256, (9, size, size, 3), dtype=torch.uint8)
    draws = Draws.of(3, 1, 9)
    got = crop(padded(x), draws.order, draws.shift, draws.flip, size)
    assert got.is_contiguous(memory_format=torch.channels_last) and draws.flip.any() and not draws.flip.all()
    border = size // 8
    for i, index in enumerate(draws.order):
        canvas = np.zeros((size + 2 * border, size + 2 * border, 3), np.uint8)
        canvas[border : border + size, border : border + size] = x[index]
        top, left = (int(draws.shift[i, axis] * (2 * border + 1)) for axis in (0, 1))
        wanted = canvas[top : top + size, left : left + size]
        wanted = wanted[:, ::-1] if draws.flip[i] else wanted
        np.testing.assert_array_equal(got[i].permute(1, 2, 0), wanted)


def test_every_place_of_a_crop_is_equally_likely():
    draws = Draws.of(0, 0, 50_000)
    places = (draws.shift * 5).long()
    counts = torch.bincount(places[:, 0] * 5 + places[:, 1], minlength=25)
    assert len(counts) == 25 and (counts - 2000).abs().max() < 5 * math.sqrt(2000)
    assert abs(draws.flip.double().mean() - 0.5) < 0.02
    assert draws.order.sort().values.equal(torch.arange(50_000))


def test_draws_depend_on_seed_and_epoch_alone():
    torch.manual_seed(5)
    first = Draws.of(1, 2, 100)
    torch.manual_seed(6)
    again, other_seed, other_epoch = Draws.of(1, 2, 100), Draws.of(2, 2, 100), Draws.of(1, 3, 100)
    assert all(getattr(first, key).equal(getattr(again, key)) for key in ('order', 'shift', 'flip'))
    assert not first.order.equal(other_seed.order) and not first.order.equal(other_epoch.order)


def test_smaller_images_keep_grey_levels_and_means():
    grey = torch.full((2, 32, 32, 3), 77, dtype=torch.uint8)
    assert resize(grey, 12).unique().tolist() == [77] and resize(grey, 12).shape == (2, 12, 12, 3)
    noise = torch.randint(0, 256, (1, 32, 32, 3), dtype=torch.uint8)
    assert abs(resize(noise, 16).double().mean() - noise.double().mean()) < 1
    assert resize(noise, 32) is noise


def test_held_out_images_are_the_last_of_each_class(npz):
    images, everything = load(npz, 20), load(npz)
    assert len(images.y_train) == 140 and images.y_test.bincount().tolist() == [5] * 4
    assert images.x_test.equal(everything.x_train[140:]) and images.x_train.equal(everything.x_train[:140])


@pytest.mark.parametrize(
    'holdout, message', [(3, 'a multiple >= 0 of 4'), (160, 'less than 160'), (-4, 'a multiple >= 0 of 4')]
)
def test_impossible_holdouts_are_refused(npz, holdout, message):
    with pytest.raises(ValueError, match=message):
        load(npz, holdout)


@pytest.mark.parametrize(
    'change',
    [
        lambda y: y + 0.5,
        lambda y: y.astype(int) - 1,
        lambda y: y * 5,
        lambda y: y.astype(bool),
        lambda y: y.astype(str),
        lambda y: y[:0],
    ],
    ids=['halves', 'from -1', 'gaps', 'bool', 'text', 'none'],
)
@pytest.mark.parametrize('key', ['y_train', 'y_test'])
def test_labels_that_are_no_class_indices_are_refused(npz, key, change, tmp_path):
    with np.load(npz) as file:
        arrays = dict(file)
    arrays[key] = change(arrays[key])
    if not len(arrays[key]):
        arrays[key.replace('y', 'x')] = arrays[key.replace('y', 'x')][:0]
    if key == 'y_test' and arrays[key].dtype.kind in 'ui' and len(arrays[key]):
        arrays[key] = arrays[key] + 4 * (arrays[key].min() >= 0)  # beyond those of the training images
    np.savez(tmp_path / 'wrong.npz', **arrays)
    with pytest.raises(ValueError, match='wrong.npz: expected'):
        load(tmp_path / 'wrong.npz')


@pytest.mark.parametrize('content', [b'', b'text', b'PK\x03\x04 and no more'])
def test_damaged_files_are_refused(content, tmp_path):
    (tmp_path / 'wrong.npz').write_bytes(content)
    with pytest.raises(ValueError, match='wrong.npz: expected an .npz file') as caught:
        load(tmp_path / 'wrong.npz')
    assert 'unsafely' not in str(caught.value)


def test_files_without_the_arrays_are_refused(tmp_path):
    np.savez(tmp_path / 'a.npz', x_train=np.zeros(3))
    with pytest.raises(ValueError, match='expected an .npz file with x_train'):
        load(tmp_path / 'a.npz')


def test_learning_rate_rises_to_its_peak_and_falls_to_zero():
    recipe = Recipe(lr=0.4, warmup=0.1)
    rates = [recipe.rate(step, 100) for step in range(101)]
    assert rates[:10] == pytest.approx([0.04 * (i + 1) for i in range(10)])
    assert max(rates) == rates[9] == rates[10] and rates[55] == pytest.approx(0.2) and rates[100] == 0
    assert [Recipe().size(step, 10) for step in (0, 5, 6, 9)] == [12, 12, 16, 16]


@pytest.mark.slow
def test_a_run_gives_the_same_bits_twice_and_others_another(data, whole, tmp_path):
    torch.manual_seed(123)
    assert untimed(train(JOB, data, tmp_path / 'again.pt', TINY)) == untimed(whole)
    other = train(replace(JOB, seed=1), data, tmp_path / 'other.pt', TINY)
    assert other['train_loss'] != whole['train_loss']
    assert whole['images_seen'] == JOB.images and whole['image_size'] == 12 and whole['diverged'] == 0


def test_seconds_are_the_processors_own(data, whole, tmp_path, monkeypatch):
    """Not those of a clock on the wall, which goes on while other work has the processor."""
    ticks = iter(range(100))
    monkeypatch.setattr(time, 'process_time', lambda: next(ticks))
    row = train(JOB, data, tmp_path / 'run.pt', TINY)
    assert float(row['seconds']) == 6  # one look at the loss every two of twelve steps
    assert float(row['images_per_second']) == JOB.images / 6 and untimed(row) == untimed(whole)


def test_precision_can_be_chosen(data, tmp_path):
    jobs = {name: replace(JOB, precision=name) for name in ('float32', 'bfloat16')}
    rows = {name: train(job, data, tmp_path / 'run.pt', TINY) for name, job in jobs.items()}
    append(tmp_path / 'a.csv', tmp_path / 'lock', rows.values())
    assert done(tmp_path / 'a.csv') == {*jobs.values()} and jobs['float32'] == JOB
    losses = [float(row['train_loss']) for row in rows.values()]
    assert losses[0] != losses[1] and losses[0] == pytest.approx(losses[1], rel=0.1)


KILLED = """
import sys
import time
from pathlib import Path
import torch
from study.data import load
from study.table import Job
from study.training import Recipe, Sizes, train
torch.set_num_threads(1)
npz, checkpoint, job, recipe = sys.argv[1:]
def report(images, loss):
    print(images, flush=True)
    if images == 96:
        time.sleep(600)
train(eval(job), Sizes(load(Path(npz))), Path(checkpoint), eval(recipe), save_every=0, report=report)
"""


@pytest.mark.skipif(not FORKS, reason='no forkserver here')
@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_bits(npz, data, whole, tmp_path):
    checkpoint = tmp_path / 'run.pt'
    process = fork(['-c', KILLED, npz, checkpoint, repr(JOB), repr(TINY)], tmp_path / 'log')
    # six steps; the checkpoint of the first four is there, that of six is not yet
    while not (tmp_path / 'log').is_file() or '96\n' not in (tmp_path / 'log').read_text():
        assert process.is_alive()
        time.sleep(0.01)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    seen = []
    row = train(JOB, data, checkpoint, TINY, report=lambda images, loss: seen.append(images))
    assert seen == [96, 128, 160, 192]
    assert untimed(row) == untimed(whole)


def test_a_checkpoint_of_another_run_is_not_resumed(data, whole, tmp_path):
    checkpoint = tmp_path / 'run.pt'

    def stop(images, loss):
        if images == 8 * 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(replace(JOB, set='euler'), data, checkpoint, TINY, save_every=0, report=stop)
    assert torch.load(checkpoint, weights_only=True)['step'] == 6
    assert untimed(train(JOB, data, checkpoint, TINY)) == untimed(whole)


@pytest.fixture
def interrupted(data, tmp_path):
    """The checkpoint of a run that was stopped after six steps."""
    checkpoint = tmp_path / 'run.pt'

    def stop(images, loss):
        if images == 8 * 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(JOB, data, checkpoint, TINY, save_every=0, report=stop)
    return checkpoint


def others(npz, folder):
    """A file of the same name with one pixel changed."""
    with np.load(npz) as arrays:
        found = dict(arrays)
    found['x_train'][0, 0, 0, 0] ^= 1
    np.savez(folder / npz.name, **found)
    return folder / npz.name


def test_a_checkpoint_on_other_images_of_the_same_name_is_refused(npz, interrupted, tmp_path):
    with pytest.raises(ValueError, match=r'run\.pt: expected a checkpoint on these images, got one on others'):
        train(JOB, Sizes(load(others(npz, tmp_path))), interrupted, TINY)
    assert interrupted.exists()


def test_a_checkpoint_that_does_not_say_its_images_is_resumed(data, whole, interrupted):
    state = torch.load(interrupted, weights_only=True)
    del state['images']
    torch.save(state, interrupted)
    seen = []
    assert untimed(train(JOB, data, interrupted, TINY, report=lambda images, loss: seen.append(images))) == untimed(
        whole
    )
    assert seen[0] == 8 * 16


def test_two_files_of_one_name_do_not_mix(npz, tmp_path, monkeypatch, capsys):
    from study import commands

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(commands, '_share', lambda args, missing: 0)
    for path, extra, refused in (
        (others(npz, tmp_path), ['--list'], False),  # writes nothing down
        (npz, [], False),
        (npz, ['--list'], False),
        (others(npz, tmp_path), [], True),
        (others(npz, tmp_path), ['--list'], True),
        (others(npz, tmp_path), ['--folder', 'other'], False),
    ):
        monkeypatch.setattr(sys, 'argv', ['run.py', '--npz', str(path), '--csv', 'out.csv', *extra])
        if refused:
            with pytest.raises(SystemExit, match='2'):
                commands.main()
            assert 'got others of that name: rename tiny.npz' in capsys.readouterr().err
        else:
            assert commands.main() == 0


def test_a_diverged_run_stops_at_chance_and_says_so(data, tmp_path, monkeypatch):
    method = MultistepMethod([1e12], [1], 'huge')
    monkeypatch.setitem(SETS, 'huge', CoefficientSet('huge', method, True, (), ''))
    row = train(replace(JOB, set='huge'), data, tmp_path / 'run.pt', TINY)
    assert row['diverged'] == 1 and row['images_seen'] == 2 * 16
    assert {row[key] for key in row if key.endswith('_accuracy')} == {'25.0000'}
    assert float(row['test_loss']) == pytest.approx(math.log(4))


def test_runs_that_do_not_fill_a_batch_are_refused(data, tmp_path):
    with pytest.raises(ValueError, match='expected at least 16 images'):
        train(replace(JOB, images=15), data, tmp_path / 'run.pt', TINY)


def test_sets_are_all_different():
    assert len(SETS) == len(ROWS) == len({row.method for row in ROWS})
    assert len({Job(name, 20, 'c', 0, 1, 0).name for name in SETS}) == len(SETS)
    assert all(row.why and row.groups for row in ROWS)
    assert all(row.own or parse_method(row.name) == row.method for row in ROWS)


@pytest.mark.parametrize('name', slow_but(PILOT, SETS))
def test_every_set_builds_its_network(name):
    net = build(replace(JOB, set=name), RECIPE, 10)
    assert net.method == SETS[name].method and net.pretrained_cfg['input_size'] == (3, 16, 16)
    assert net.eval()(torch.zeros(1, 3, 16, 16)).shape == (1, 10)


def test_without_batch_norm_its_places_keep_their_activations():
    """What a fresh norm is in eval mode, where means are 0 and variances 1; nothing of it is left to be learned."""
    x = torch.rand(2, 3, 16, 16)
    norm, none = (build(JOB, RECIPES[name], 10) for name in ('standard', 'no-norm'))
    assert torch.allclose(none.train()(x), norm.eval()(x), atol=1e-6)
    assert not torch.allclose(none(x), norm.train()(x), atol=0.1)
    assert {name for name, _ in none.named_parameters()} < {name for name, _ in norm.named_parameters()}
    assert all(p.ndim > 1 or name == 'head.fc.bias' for name, p in none.named_parameters())


def test_a_run_is_trained_by_the_recipe_that_it_names(data, whole, tmp_path):
    runs = {name: replace(JOB, images=128, recipe=name) for name in RECIPES}
    rows = {name: train(job, data, tmp_path / 'run.pt') for name, job in runs.items()}
    assert len({row['train_loss'] for row in rows.values()}) == len({job.name for job in runs.values()}) == len(RECIPES)
    assert [row['recipe'] for row in rows.values()] == [*RECIPES]
    append(tmp_path / 'a.csv', tmp_path / 'lock', rows.values())
    assert done(tmp_path / 'a.csv') == {*runs.values()}


def test_pilot_and_deep_hold_what_they_promise():
    assert sorted(SETS[name].method.is_zero_stable for name in PILOT) == [False] * 4 + [True] * 6
    families = {'first', 'lm', 'zerosnet', 'momentum', 'optimal', 'adams'}
    mild = {
        row.name
        for row in ROWS
        if not row.method.is_zero_stable and row.method.spectral_radius <= 1.25 and families & {*row.groups}
    }
    assert len(DEEP) == len(set(DEEP)) == 12 and mild <= set(DEEP)


def test_confounds_change_one_thing_and_keep_the_others():
    for row in ROWS:
        name, colon, change = row.name.partition(':')
        if change.startswith('b0='):
            assert row.method.a == SETS[name].method.a and row.method.b[0] != SETS[name].method.b[0]
        elif change == 'mirrored':
            other = SETS[name].method
            assert sorted(map(abs, row.method.roots)) == pytest.approx(sorted(map(abs, other.roots)))
            assert row.method.b == other.b and sum(row.method.a) != 1
    assert SETS['lm(0)'].method.roots == SETS['midpoint'].method.roots
    assert SETS['lm(1.9)'].method.a == SETS['momentum(0.9)'].method.a


@pytest.mark.parametrize(
    'name, expected',
    [
        ('euler', ('1', '1', '0', 1, 1, 1, '1', '1', '-2')),
        ('zerosnet-opt', ('1 0.333333 0.333333', '1', '0.333333', 1, 1, 2, '1.77778', '1', '-0.5')),
        ('midpoint', ('1 1', '1', '1', 1, 1, 2, '2', '1', '0')),
        ('ab2', ('1 0', '1', '0', 1, 1, 2, '1.5', '1', '-1')),
        ('lm(2.2)', ('1.2 1', '1.2', '1.2', 0, 0, 0, '1', '1', '')),
        ('first(0.5)', ('0.5', '0.5', '', 1, 0, '', '1', '0.5', '-1.5')),
        ('all-ones', ('1.83929 0.737353 0.737353', '1.83929', '', 0, 0, '', '1', '3', '')),
    ],
)
def test_columns_of_known_methods(name, expected):
    keys = (
        'root_moduli spectral_radius parasitic_radius zero_stable consistent order b0 sum_a stability_interval'
    ).split()
    found = derived(SETS[name].method)
    assert tuple(found[key] for key in keys) == expected


def test_table_is_sorted_and_the_same_in_any_order(whole, tmp_path):
    made = [{**whole, 'set': name, 'seed': seed} for name in ('euler', 'ab2') for seed in (1, 0)]
    for path, order in ((tmp_path / 'a.csv', made), (tmp_path / 'b.csv', made[::-1])):
        for row in order:
            append(path, tmp_path / 'lock', [row])
        append(path, tmp_path / 'lock', [{**made[0], 'test_accuracy': 'twice'}])
    text = (tmp_path / 'a.csv').read_text()
    assert text == (tmp_path / 'b.csv').read_text() and 'twice' not in text
    lines = text.splitlines()
    assert lines[0] == ','.join(whole) and [line.split(',')[0] for line in lines[1:]] == ['euler'] * 2 + ['ab2'] * 2
    assert done(tmp_path / 'a.csv') == {replace(JOB, set=n, seed=s) for n in ('euler', 'ab2') for s in (0, 1)}


def study(cwd, *words):
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    return python(ROOT / 'benchmarks' / 'study' / 'run.py', *words, cwd=cwd, env=environment)


@pytest.mark.slow
def test_the_command_trains_what_is_missing(npz, tmp_path):
    words = ('--npz', npz, '--sets', 'euler', 'ab2', '--images', 128, '--holdout', 20, '--csv', 'out.csv', '--jobs', 2)
    ran = study(tmp_path, *words, '--seeds', 0)
    assert ran.returncode == 0, ran.stderr
    with (tmp_path / 'out.csv').open(newline='') as file:
        rows = list(csv.DictReader(file))
    assert [row['set'] for row in rows] == ['euler', 'ab2']
    for row in rows:
        assert (row['split'], row['holdout'], row['image_size'], row['images_seen']) == ('holdout', '20', '16', '128')
        assert 0 <= float(row['test_accuracy']) <= 100 and row['randn_0.1_accuracy'] and row['method'] == row['set']
    assert not list((tmp_path / 'runs' / 'study').glob('*.pt'))
    before = (tmp_path / 'out.csv').read_bytes()
    ran = study(tmp_path, *words, '--seeds', 0)
    assert ran.returncode == 0 and '2 of 2 runs are there' in ran.stdout
    assert (tmp_path / 'out.csv').read_bytes() == before
    ran = study(tmp_path, *words, '--seeds', 0, 1, '--list')
    assert ran.stdout.splitlines()[1:] == [f'tiny-holdout20-20-128-{name}-1' for name in ('euler', 'ab2')]


@pytest.mark.parametrize(
    'words, message',
    [
        (('--sets', 'euller'), 'got euller'),
        (('--depth', '21'), '--depth: expected 6 n + 2'),
        (('--seeds', '-1'), '--seeds: expected integers >= 0'),
        (('--seeds', 'x'), "argument --seeds: expected an integer, got 'x'"),
        (('--device', 'tpu'), '--device: expected cpu or cuda, got tpu'),
        (('--images', '100'), 'at least one batch of 128'),
        (('--csv', 'out.txt'), 'out.txt'),
    ],
)
def test_the_command_refuses_what_cannot_be(npz, tmp_path, monkeypatch, capsys, words, message):
    from study import commands

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'argv', ['run.py', '--npz', str(npz), *words])
    with pytest.raises(SystemExit, match='2'):
        commands.main()
    assert message in capsys.readouterr().err.splitlines()[-1]
