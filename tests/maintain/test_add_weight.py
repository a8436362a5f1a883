"""``timm-zerosnet weights add``: what it stores, and that a refused checkpoint leaves the folder as it was."""

import json
import os
import re
import shlex
import stat
import threading
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import yaml
from amounts import slow, slow_but
from made_trainings import HEADER, NEW, OLD, PACKAGED, SAMPLE, Run, weights_folder  # noqa: F401
from places import ROOT
from safetensors.torch import load_file
from small_trainings import CHECKOUT
from timm.utils import ModelEmaV3

import timm_zerosnet  # noqa: F401
from timm_zerosnet import cli, weights
from timm_zerosnet._errors import WeightError
from timm_zerosnet._files import locked, sha256
from timm_zerosnet.checkpoint import RECORD
from timm_zerosnet.maintain import add_weight
from timm_zerosnet.maintain.add_weight import LOCK
from timm_zerosnet.maintain.reproduction import LOCAL_ARGUMENTS, TRAIN_DEFAULTS, reproduction_command
from timm_zerosnet.robustness import evaluate
from timm_zerosnet.robustness.data import load_labelled
from timm_zerosnet.training.scripts import find_script, script_parser
from timm_zerosnet.weights import RECIPES


@pytest.fixture(scope='module')
def top1():
    test = load_labelled(SAMPLE)
    return evaluate('zerosnet20', test.images, test.labels).top1


@pytest.fixture
def run(tmp_path, top1):
    (tmp_path / 'run').mkdir()
    return Run(tmp_path / 'run', top1)


def content(folder):
    return {
        str(path.relative_to(folder)): (
            stat.S_IMODE(path.stat().st_mode),
            path.read_bytes() if path.is_file() else None,
        )
        for path in folder.rglob('*')
    }


def manifest(folder):
    return json.loads((folder / 'manifest.json').read_text(encoding='utf-8'))


def test_of_two_at_once_one_waits(run, folder):
    thread, other = threading.Thread(target=run.add), 'preresnet20.cifar10'
    with locked(folder / LOCK):
        thread.start()
        while thread.is_alive() and not list(folder.glob(f'.adding-*/{NEW}.logs/args.yaml')):
            time.sleep(0.1)
        rows = manifest(folder)
        assert set(rows) == {OLD}
        (folder / 'manifest.json').write_text(json.dumps({**rows, other: rows[OLD]}), encoding='utf-8')
    thread.join(200)
    assert set(manifest(folder)) == {OLD, NEW, other}


def test_command_of_contributing(run, folder, capsys):
    text = (ROOT / 'CONTRIBUTING.md').read_text(encoding='utf-8')
    add, tables = re.search(r'```console\n(timm-zerosnet weights add .*?)```', text, re.DOTALL)[1].splitlines()
    assert cli.main(shlex.split(add.replace('RUN', str(run.folder)).replace('TEST', str(SAMPLE)))[1:]) == 0
    assert manifest(folder)[NEW]['recipe'] == 'short.yaml' and tables == 'timm-zerosnet weights tables'


@pytest.mark.parametrize('umask', [0o022, 0o027], ids=oct)
def test_stores_file_log_and_row(umask, run, folder, top1, capsys):
    """safetensors writes files that nobody else may read: the modes are those that the umask gives."""
    before, old = content(folder), manifest(folder)
    options = ('--hardware', 'an abacus', '--wall-time', '3 h', '--scripts', '1.0.29', '--date', '2030-01-02')
    previous = os.umask(umask)
    try:
        assert cli.main(run.command(*options, '--note', 'a | note')) == 0
    finally:
        os.umask(previous)
    after, row = content(folder), manifest(folder)[NEW]

    assert {name: after[name] for name in before if name != 'manifest.json'} == {
        name: entry for name, entry in before.items() if name != 'manifest.json'
    }
    made = {f'{NEW}.safetensors', f'logs/{NEW}/summary.csv', f'logs/{NEW}/args.yaml'}
    assert after.keys() - before.keys() == {f'logs/{NEW}', *made, LOCK}
    assert {oct(after[name][0]) for name in {*made, 'manifest.json'}} == {oct(0o666 & ~umask)}
    assert after[f'logs/{NEW}/summary.csv'][1] == run.log.read_bytes()
    stored = yaml.safe_load(after[f'logs/{NEW}/args.yaml'][1])
    given = yaml.safe_load(run.args.read_text())
    assert given['data_dir'] and 'data_dir' not in stored and 'output' not in stored  # paths of a machine
    assert stored == {key: value for key, value in given.items() if key in stored} and stored['model']

    path = folder / f'{NEW}.safetensors'
    assert row == weights.manifest()[NEW] and list(manifest(folder)) == [OLD, NEW]
    assert manifest(folder)[OLD] == old[OLD]
    assert row.keys() == old[OLD].keys()
    assert (row['sha256'], row['bytes']) == (sha256(path), path.stat().st_size)
    assert (row['parameters'], row['data'], row['test_images']) == (277_402, 'cifar10', 200)
    assert (row['top1'], row['logged_top1']) == (round(top1, 2),) * 2 and row['top5'] >= row['top1']
    assert (row['weights'], row['recipe'], row['epochs'], row['seed']) == ('raw', 'short.yaml', 40, 1)
    assert (row['hardware'], row['wall_time'], row['date']) == ('an abacus', '3 h', '2030-01-02')
    assert row['versions'] == {'torch': version('torch'), 'timm': version('timm'), 'scripts': '1.0.29'}
    assert row['note'] == 'a | note' and row['command'].endswith('--data-dir data --seed 1')
    out = capsys.readouterr().out
    assert row['sha256'] in out and 'weights tables' in out

    stored, packaged = load_file(path), load_file(PACKAGED / f'{OLD}.safetensors')
    assert stored.keys() == packaged.keys()
    for key, value in stored.items():
        assert value.dtype == packaged[key].dtype and torch.equal(value, packaged[key]), key
    weights.verify(NEW)


def test_version_of_the_scripts_is_what_the_launcher_recorded(run, folder):
    run.args.write_text(run.args.read_text() + "timm_zerosnet: {recipe: short, scripts: '1.0.31', processes: 1}\n")
    assert cli.main(run.command()) == 0
    assert manifest(folder)[NEW]['versions']['scripts'] == '1.0.31'


@pytest.mark.parametrize('mode', [0o444, *map(slow, (0o644, 0o600))], ids=oct)
def test_replaces_an_existing_file(mode, run, folder, top1):
    """An old file would be written into, or lose its mode: it is replaced."""
    path = folder / f'{OLD}.safetensors'
    path.chmod(mode)
    os.link(path, folder.parent / 'link')
    run.change(norm__bias=torch.full((64,), 0.01))
    run.write_log(f'39,0.1,0.2,{run_top1(run)},99.9,0.0\n')
    row = run.add(tag='cifar10')
    assert manifest(folder) == {OLD: row}
    assert (folder.parent / 'link').read_bytes() == (PACKAGED / f'{OLD}.safetensors').read_bytes()
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
    assert torch.equal(load_file(path)['norm.bias'], torch.full((64,), 0.01))
    weights.verify(OLD)


def run_top1(run):
    overlay = dict(file=str(run.checkpoint))
    test = load_labelled(SAMPLE)
    model = timm.create_model('zerosnet20', pretrained=True, pretrained_cfg_overlay=overlay)
    return evaluate(model, test.images, test.labels).top1


def test_memory_layout_does_not_matter(run, folder):
    """Weights that are not contiguous cannot be saved: channels_last, transposed, and views of one buffer."""
    model = timm.create_model('zerosnet20', pretrained=True).to(memory_format=torch.channels_last)
    run.write_checkpoint(model)
    own = model.state_dict()
    assert not own['stages.0.blocks.0.conv1.weight'].is_contiguous()
    transposed = own['head.fc.weight'].t().contiguous().t()
    buffer = torch.cat([own['norm.weight'], own['norm.bias']])
    run.change(head__fc__weight=transposed, norm__weight=buffer[:64], norm__bias=buffer[64:])
    assert not transposed.is_contiguous()
    run.add()
    stored = load_file(folder / f'{NEW}.safetensors')
    assert all(value.is_contiguous() and torch.equal(value, own[key].to(value.dtype)) for key, value in stored.items())
    assert stored['norm.weight'].dtype == torch.float32 and stored['head.fc.weight'].dtype == torch.float16


@pytest.mark.parametrize('prefix', ['module.', '_orig_mod.module.'])
def test_double_precision_and_parallel_names_are_stored_alike(prefix, run, folder):
    state_dict = timm.create_model('zerosnet20', pretrained=True).double().state_dict()
    names = {prefix + key: value for key, value in state_dict.items()}
    torch.save({'state_dict': names, 'epoch': 39}, run.checkpoint)
    run.add()
    packaged, stored = load_file(PACKAGED / f'{OLD}.safetensors'), load_file(folder / f'{NEW}.safetensors')
    assert all(
        torch.equal(value, packaged[key]) and value.dtype == packaged[key].dtype for key, value in stored.items()
    )


def test_parameter_of_several_blocks_is_refused(run, folder):
    """The file would hold a copy for each, and lose the tie."""
    before = content(folder)
    model = timm.create_model('zerosnet20', pretrained=True)
    model.stages[0].blocks[1].conv2.weight = model.stages[0].blocks[2].conv2.weight
    run.write_checkpoint(model)
    names = 'stages.0.blocks.1.conv2.weight and stages.0.blocks.2.conv2.weight'
    with pytest.raises(WeightError, match=f'last.pth.tar: {names} are tied'):
        run.add()
    assert content(folder) == before


def test_average_decides_which_weights_are_stored(run, folder, capsys):
    model = timm.create_model('zerosnet20', pretrained=True)
    average = ModelEmaV3(model)
    with torch.no_grad():
        model.head.fc.weight.neg_()
    run.write_args(model_ema=True, model_ema_decay=0.99)
    run.write_checkpoint(model, model_ema=average)
    before = content(folder)
    assert cli.main(run.command('--average', 'raw')) == 2
    assert 'expected --average ema, whose accuracy the run logged, got --average raw' in capsys.readouterr().err
    run.write_args(model_ema_force_cpu=True)  # then the log is of the weights themselves
    assert cli.main(run.command('--average', 'ema')) == 2
    assert 'expected --average raw, whose accuracy the run logged' in capsys.readouterr().err
    assert cli.main(run.command()) == 2
    assert 'expected a difference of at most 0.3 points' in capsys.readouterr().err
    assert content(folder) == before

    run.write_args(model_ema_force_cpu=False)
    assert cli.main(run.command()) == 0
    stored = load_file(folder / f'{NEW}.safetensors')
    assert torch.equal(stored['head.fc.weight'], -model.head.fc.weight.half())
    row = manifest(folder)[NEW]
    assert row['weights'] == 'ema' and row['command'].endswith('--model-ema --model-ema-decay 0.99 --seed 1')


def spoil(**entries):
    return lambda run: run.change(**entries)


def save(content):
    return lambda run: torch.save(content, run.checkpoint)


def bomb(run):
    torch.save({'state_dict': {'norm.bias': torch.zeros(2)}, 'epoch': 39, 'bomb': Path('x')}, run.checkpoint)


def log(text):
    return lambda run: run.log.write_bytes(text if isinstance(text, bytes) else text.encode())


def args(**changes):
    return lambda run: run.write_args(**changes)


def last(epoch=39, top1='90'):
    return log(f'{HEADER}{epoch},0.1,0.2,{top1},99.9,0.0\n')


def no_labels(run):
    np.savez(run.folder / 'test.npz', x_test=np.zeros((2, 32, 32, 3), np.uint8))
    return '--data', run.folder / 'test.npz'


def part_of_the_test_set(run):
    with np.load(SAMPLE) as whole:
        np.savez(run.folder / 'test.npz', **{name: array[:-1] for name, array in whole.items()})
    return '--data', run.folder / 'test.npz'


def broken_recipe(run):
    (run.folder / 'short.yaml').write_text('a: [1', encoding='utf-8')
    return '--recipe', run.folder / 'short.yaml'


def own_recipe(run):
    (run.folder / 'mine.yaml').write_text('lr: 1', encoding='utf-8')
    return '--recipe', run.folder / 'mine.yaml'


def none(option, name):
    return lambda run: (option, run.folder / name)


WORST = torch.full((16, 3, 3, 3), 1e6)
REFUSED = {
    'no average': (args(model_ema=True), 'expected an entry state_dict_ema, got epoch, arch, '),
    'NaN': (spoil(norm__bias=torch.full((64,), float('nan'))), '1 entries of the state dict for zerosnet20 hold NaN'),
    'too large for float16': (spoil(stem__conv__weight=WORST), 'hold NaN or infinity: stem.conv.weight'),
    'other network': (args(model='zerosnet32'), 'does not fit zerosnet32: of its 194 entries and the 122 given, 60'),
    'one more entry': (spoil(extra=torch.zeros(1)), '1 not of this network (extra)'),
    'no network': (args(model='resnet19'), "the run trained 'resnet19': expected a network of this package"),
    'other normalisation': (
        args(mean=[0.5, 0.5, 0.5]),
        'the run: expected --mean 0.4914 0.4822 0.4465, got [0.5, 0.5, 0.5]',
    ),
    'normalisation of other data': (
        args(model='zerosnet20.cifar100', num_classes=10),
        'the run: expected --mean 0.4914 0.4822 0.4465, got that of its network',
    ),
    'other recipe': (args(**{RECORD: {'recipe': 'long'}}), '--recipe: expected long, with which the run was started'),
    'class map': (args(class_map='mine.txt'), 'the run had --class-map mine.txt, a file that nobody else has'),
    'network without data': (args(model='zerosnet18'), "the run trained 'zerosnet18': expected a network"),
    'no name': (args(model=None), 'expected the name of a model in '),
    'other classes': (args(num_classes=100), 'zerosnet20.cifar10_seed1 has 10 classes, the run 100'),
    'stopped early': (args(epochs=50), 'ends with epoch 39 (the first is 0) of 50: a note must say why'),
    'no option': (args(channels_last=False), 'the run had channels_last: False, recipe short has something else'),
    'gap': (last(top1='50'), 'the log of its last epoch 50.00 %; expected a difference of at most 0.3 points'),
    'NaN in the log': (last(top1='nan'), "summary.csv, got epoch '39', eval_top1 'nan'"),
    'text in the log': (last(top1='high'), "eval_top1 'high'"),
    'text for the epoch': (last('last'), "summary.csv, got epoch 'last', eval_top1 '90'"),
    'cut log': (log(f'{HEADER}39,0.1'), "summary.csv, got epoch '39', eval_top1 None"),
    'empty log': (log(''), 'summary.csv has no row; expected rows with epoch and eval_top1'),
    'log of headers': (log(HEADER * 2), 'summary.csv has no row'),
    'other table': (log('a,b\n1,2\n'), 'expected an epoch and a percentage in the last row of '),
    'binary log': (log(bytes(range(256))), 'summary.csv is not a readable CSV file: '),
    'endless cell': (log(HEADER + 'x' * 200_000), 'summary.csv is not a readable CSV file: field larger'),
    'no log': (none('--log', 'none.csv'), 'none.csv does not exist; expected summary.csv and args.yaml'),
    'no arguments': (lambda run: run.args.unlink(), 'args.yaml does not exist; expected summary.csv and args.yaml'),
    'broken arguments': (lambda run: run.args.write_text('a: [1'), 'args.yaml is not a readable YAML file: while'),
    'list of arguments': (
        lambda run: run.args.write_text('- a'),
        'args.yaml: expected lines of the form name: value, got a list',
    ),
    'other epoch': (last(31), 'a note must say why'),
    'best epoch': (
        lambda run: run.write_checkpoint(timm.create_model('zerosnet20'), 31),
        'last.pth.tar: expected epoch 39, the last of ',
    ),
    'no recipe': (none('--recipe', 'short.yaml'), 'expected a YAML file or one of the recipes long, paper, short, zoo'),
    'broken recipe': (broken_recipe, 'short.yaml is not a readable YAML file: while parsing'),
    'recipe of their own': (
        own_recipe,
        'recipe: expected a packaged one (long, paper, short, zoo), so that others can repeat the run, got mine',
    ),
    'no data': (none('--data', 'none'), 'none is neither an npz file nor a folder'),
    'part of the test set': (part_of_the_test_set, 'test.npz: expected the whole test set of 200 images, got 199'),
    'no labels': (no_labels, 'test.npz lacks y_test; it holds x_test'),
    'no checkpoint': (lambda run: run.checkpoint.unlink(), 'last.pth.tar does not exist or is no file. Expected'),
    'empty checkpoint': (
        lambda run: run.checkpoint.write_bytes(b''),
        'cannot be read as a checkpoint: it is no PyTorch checkpoint',
    ),
    'garbage': (
        lambda run: run.checkpoint.write_bytes(b'\x80\x02garbage'),
        'cannot be read as a checkpoint: it is damaged',
    ),
    'list': (save([1, 2]), 'it holds no state dict but a list'),
    'bare state dict': (save({'norm.bias': torch.zeros(1)}), 'expected an entry state_dict, got norm.bias'),
    'code': (bomb, 'cannot be read as a checkpoint: it holds pathlib.'),
    'other data': (lambda run: ('--tag', 'mnist'), "or cifar100, with or without _ and a name behind it, got 'mnist'"),
    'path as tag': (
        lambda run: ('--tag', 'cifar10_/../../x'),
        "tag: expected cifar10 or cifar100, with or without _ and a name behind it, got 'cifar10_/../../x'",
    ),
    'date': (lambda run: ('--date', '2.1.2030'), "'2.1.2030'"),
}


@pytest.mark.parametrize('case', slow_but(list(REFUSED)[::3], REFUSED))
def test_refused_run_leaves_the_folder_as_it_was(case, run, folder, capsys):
    prepare, expected = REFUSED[case]
    options = prepare(run)
    before = content(folder)
    assert cli.main(run.command(*(options if isinstance(options, tuple) else ()))) == 2
    *_, message = capsys.readouterr().err.splitlines()
    assert message.startswith('timm-zerosnet: ') and expected in message
    assert content(folder) == before


def test_packaged_weights_were_measured_on_whole_test_sets():
    assert {row['test_images'] for row in weights.manifest().values()} == {add_weight.TEST_IMAGES} == {10_000}


def test_weights_are_listed_by_network_and_tag():
    names = ['zerosnet20.cifar10', 'zerosnet20.cifar10_seed1', 'zerosnet20.cifar10_short', 'zerosnet20.cifar100']
    names += ['zerosnet110.cifar10', 'preresnet20.cifar10', 'resnet10t.cifar10', 'resnet10t.cifar10_seed1']
    assert sorted(reversed(names), key=add_weight.place) == names
    assert sorted(weights.manifest(), key=add_weight.place) == list(weights.manifest())


def test_interruption_leaves_the_folder_as_it_was(run, folder, capsys, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    before = content(folder)
    monkeypatch.setattr(add_weight, 'evaluate', interrupt)
    assert cli.main(run.command()) == 130
    assert 'interrupted' in capsys.readouterr().err and content(folder) == before


def reproduction(name='zerosnet20.cifar10', recipe='short', **changes):
    packaged = yaml.safe_load((RECIPES / f'{recipe}.yaml').read_text(encoding='utf-8'))
    return shlex.split(reproduction_command(name, recipe, {**packaged, **changes}))


@pytest.mark.parametrize(
    'changes, options',
    [
        (dict(epochs=30, num_classes=10), '--epochs 30'),
        (dict(train_img_sizes=[24, 32], lr=0.4), '--lr 0.4 --train-img-sizes 24 32'),
        (dict(data_dir='a', device='cuda', workers=9, val_interval=5, output='x', experiment='y', resume='z'), ''),
        (dict(model_kwargs={'lambda_init': -2}, seed=3), '--model-kwargs lambda_init=-2 --seed 3'),
        (dict(amp=True, clip_grad=1.0, drop_path=None), '--amp --clip-grad 1.0'),
        (dict(amp=True, amp_dtype='bfloat16'), '--amp --amp-dtype bfloat16'),
        (
            dict(mixup=0.2, aa='rand-m9', layer_decay=0.7, no_aug=True),
            '--layer-decay 0.7 --no-aug --aa rand-m9 --mixup 0.2',
        ),
        (dict(kd_model_name='zerosnet110', grad_accum_steps=4), '--grad-accum-steps 4 --kd-model-name zerosnet110'),
        (
            dict(mixup=0.0, scale=[0.08, 1.0], aa=None, log_interval=7, no_such_default='a', other_default=0),
            '--no-such-default a',
        ),
    ],
    ids=str,
)
def test_command_lists_what_the_arguments_change(changes, options):
    start = 'timm-zerosnet train short --model zerosnet20.cifar10 --dataset torch/cifar10 --dataset-download'
    assert reproduction(**changes) == f'{start} --data-dir data {options}'.split()


def test_command_names_model_data_and_recipe():
    words = reproduction('zerosnet110_tra.cifar100_seed2', 'paper', decay_milestones=[151, 226])
    assert words[:7] == 'timm-zerosnet train paper --model zerosnet110_tra.cifar100 --dataset torch/cifar100'.split()
    assert words[-3:] == ['--decay-milestones', '151', '226']
    with pytest.raises(WeightError, match=r'had opt_kwargs: \{\}, recipe paper has something else'):
        reproduction(recipe='paper', opt_kwargs={})


def test_command_names_the_packaged_weights_that_a_run_began_with():
    tuned = reproduction('zerosnet20.cifar100', model='zerosnet20', pretrained=True, num_classes=100)
    assert tuned[:6] == 'timm-zerosnet train short --model zerosnet20.cifar10 --pretrained'.split()
    assert tuned[-2:] == ['--num-classes', '100']
    with pytest.raises(WeightError, match='began with zerosnet20.cifar10, whose place it would take'):
        reproduction(model='zerosnet20', pretrained=True)
    for files in (dict(initial_checkpoint='a.pth'), {RECORD: {'began_with': 'a.pth'}}):
        with pytest.raises(WeightError, match='the run began with a.pth, which nobody else has'):
            reproduction(**files)
    with pytest.raises(WeightError, match='the run began with a.pth'):
        reproduction(pretrained=True, pretrained_path='a.pth')


def test_command_starts_as_many_processes():
    words = reproduction(**{RECORD: {'processes': 4}})
    assert words[:8] == 'torchrun --nproc-per-node 4 -m timm_zerosnet.train short --model zerosnet20.cifar10'.split()


@pytest.mark.parametrize('name', weights.manifest())
def test_packaged_commands_are_those_of_the_logs(name):
    row = weights.manifest()[name]
    args = yaml.safe_load((weights.WEIGHTS / 'logs' / name / 'args.yaml').read_text(encoding='utf-8'))
    assert row['command'] == reproduction_command(name, Path(row['recipe']).stem, args)


@pytest.mark.skipif(not CHECKOUT, reason='TIMM_SCRIPTS names no checkout')
def test_defaults_are_those_of_train_py():
    defaults = yaml.safe_load(TRAIN_DEFAULTS.read_text(encoding='utf-8'))
    parser = script_parser(find_script('train.py', CHECKOUT))
    actions = {action.dest: action for action in parser._actions}
    known = {key: actions[key].default for key in defaults if key in actions}
    assert len(known) > 100 and {key: defaults[key] for key in known} == known
    assert all(f'--{key.replace("_", "-")}' in actions[key].option_strings for key in known)
    assert not LOCAL_ARGUMENTS & defaults.keys()
