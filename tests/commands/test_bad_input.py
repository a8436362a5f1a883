"""Every distinct way in which a command can be misused: one clear line, a non-zero code, nothing half-written."""

import errno
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_weights import load
from PIL import Image
from places import STAND_IN
from processes import FORKS, python, start
from safetensors.torch import load_file

import timm_zerosnet_autoload
from timm_zerosnet import cli, weights
from timm_zerosnet.robustness.store import locked_folder

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)


@pytest.fixture(scope='module')
def inputs(tmp_path_factory):
    """A folder of all that is wrong."""
    folder = tmp_path_factory.mktemp('inputs')
    Image.fromarray(PIXELS).save(folder / 'good.png')
    content = (folder / 'good.png').read_bytes()
    (folder / 'cut.png').write_bytes(content[: len(content) // 2])
    (folder / 'text.png').write_text('no image')
    (folder / 'empty.png').touch()
    Image.fromarray(PIXELS[..., 0].astype(np.float32) - 300).save(folder / 'negative.tif')
    Image.new('1', (30_000, 12_000)).save(folder / 'large.png')
    original = load('cifar-ZeroSNet20_Opt')[0]
    torch.save({'state_dict': original}, folder / 'theirs.pth')
    torch.save({'state_dict': {**original, 'bn.bias': torch.full((64,), float('nan'))}}, folder / 'nan.pth')
    torch.save({'state_dict': {**original, 'bn.bias': torch.zeros(3)}}, folder / 'shape.pth')
    torch.save({'state_dict': {'weight': torch.zeros(2)}}, folder / 'other.pth')
    torch.save({'arch': 'multistep_resnet20', 'state_dict': original}, folder / 'other_arch.pth')
    torch.save([1, 2], folder / 'list.pth')
    (folder / 'text.pth').write_text('no checkpoint')
    (folder / 'cut.safetensors').write_bytes(Path(weights.weight_file('zerosnet20.cifar10')).read_bytes()[:9999])
    for name, text in {
        'map.json': '{"dog": 10}',
        'broken.json': '{',
        'names.json': '["dog"]',
        'unknown.yaml': 'epocs: 1',
        'type.yaml': 'epochs: many',
        'list.yaml': '- a',
        'broken.yaml': 'a: [1',
        'good.yaml': 'lr: 0.1',
    }.items():
        (folder / name).write_text(text)
    for split in ('train', 'validation'):
        for label in ('cat', 'dog'):
            (folder / 'two' / split / label).mkdir(parents=True)
            shutil.copy(folder / 'good.png', folder / 'two' / split / label)
    (folder / 'flat').mkdir()
    shutil.copy(folder / 'good.png', folder / 'flat')
    (folder / 'folder.png').mkdir()
    (folder / 'folder.safetensors').mkdir()
    np.savez(folder / 'ten.npz', x_test=np.tile(PIXELS[None, :32, :32], (3, 1, 1, 1)), y_test=np.arange(3))
    np.savez(folder / 'floats.npz', x_test=np.zeros((2, 32, 32, 3)), y_test=np.arange(2))
    return folder


def content(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ''
        for path in folder.rglob('*')
    }


def run(words, capsys):
    """Exit code and what is on stderr, in this process."""
    try:
        code = cli.main(words)
    except SystemExit as error:  # argparse
        code = error.code
    return code, capsys.readouterr().err


ROBUSTNESS = 'robustness --model zerosnet20 --out out'
WEIGHTS = 'weights add theirs.pth --log none.csv --data ten.npz --wall-time 1h'
VALIDATE = 'validate --model zerosnet20 --num-classes 2'
TRAIN = 'train good.yaml --model zerosnet20'

REFUSED = [
    ('', 'the following arguments are required: COMMAND'),
    ('predicts', "invalid choice: 'predicts' (choose from"),
    ('list --yaml', 'unrecognized arguments: --yaml'),
    # stability
    ('stability', 'expected METHOD, such as zerosnet-opt, or both --a and --b'),
    ('stability eular', "unknown method 'eular': did you mean euler? expected one of euler, zerosnet-opt"),
    ('stability euler --a 1 --b 1', 'expected METHOD or --a and --b, not both, got METHOD euler'),
    ('stability --a 1', 'or both --a and --b'),
    ('stability --a 1/0 --b 1', 'coefficient: expected a finite number that a float can hold, such as 1, 0.5, '),
    ('stability --a 1,,2 --b 1', 'expected a finite number that a float can hold, such as 1, 0.5, '),
    ('stability --a , 1 --b 2', "or '-9/5', got ''"),
    ('stability --a 0 --b 1', 'a: expected at least one coefficient that is not zero'),
    ('stability --a 1e400 --b 1', "that a float can hold, such as 1, 0.5, Fraction(5, 9) or '-9/5', got '1e400'"),
    ('stability --a 1e39 --b 1', 'expected coefficients up to 3.4e+38, as in a network, got 1e39 1'),
    ("stability 'lm(1e999999999999)'", "got '1e999999999999'"),
    (
        "stability 'zerosnet(0)'",
        "lambda: expected a number other than 0 that a float can hold, or inf for 1/lambda = 0, got '0'",
    ),
    ("stability 'optimal(99)'", "optimal: expected an integer number of steps from 2 to 64, got '99'"),
    ('stability design', 'expected --steps and --order, such as design --steps 4 --order 2, got neither'),
    ('stability design --steps 4', 'expected --steps and --order, such as design --steps 4 --order 2, got no --order'),
    ('stability design --steps 4 --order 2 --a 1', 'expected design with --steps and --order alone, got --a'),
    ('stability design --steps four --order 2', "argument --steps: expected an integer, got 'four'"),
    ('stability design --steps 1 --order 2', 'expected an order of at most 1, got 2: no one-slope method of 1 step'),
    ('stability design --steps 3 --order 3', 'got 3: no zero-stable one-slope method of 3 steps has it; ask for 4'),
    ('stability design --steps -1 --order 1', 'expected steps to be an integer from 1 to 64, got -1'),
    (
        'stability design --steps 4 --order 2 --plot x.bmp',
        "cannot write x.bmp: expected .png or .svg or .pdf, got '.bmp'; name a file",
    ),
    ('stability euler --steps 4 --order 2', "expected 'design' as METHOD with --steps and --order, got METHOD euler"),
    ("stability 'a(1/0) b(1)'", 'expected a finite number that a float can hold'),
    ("stability 'a(1e99) b(1)'", 'expected coefficients up to 3.4e+38, as in a network, got a(1e99) b(1)'),
    ('stability euler --plot x.bmp', "cannot write x.bmp: expected .png or .svg or .pdf, got '.bmp'; name a file"),
    ('stability euler --plot folder.png', 'cannot write folder.png: it is a folder; name a file'),
    (
        'stability euler --plot none/x.png',
        'cannot write none/x.png: none is not a folder; make it, or name another place',
    ),
    ('stability euler --plot /dev/null', 'cannot write /dev/null: it is no ordinary file; name a file'),
    # predict
    ('predict good.png', 'the following arguments are required: --model'),
    ('predict text.png --model zerosnet20', 'text.png (8 bytes) is no image that Pillow reads'),
    ('predict empty.png --model zerosnet20', 'empty.png (0 bytes) is no image that Pillow reads'),
    ('predict cut.png --model zerosnet20', 'cut.png is truncated or damaged: '),
    ('predict two --model zerosnet20', 'two is a folder; expected an image file'),
    ('predict none.png --model zerosnet20', 'none.png does not exist'),
    ('predict large.png --model zerosnet20', 'large.png is too large: expected at most 178,956,970 pixels'),
    ('predict negative.tif --model zerosnet20', 'expected floats in [0, 1] or [0, 255], got values from -300 to -45'),
    ('predict good.png --model zerosnet20 --topk 0', 'expected --topk of at least 1, got 0'),
    ('predict good.png --model zerosnet20 --topk 11', 'expected --topk from 1 to 10, the number of classes of '),
    ('predict good.png --model zerosnet20 --topk two', "argument --topk: expected an integer, got 'two'"),
    ('predict good.png --model zerosnet21', "timm knows no model 'zerosnet21'; the nearest are zerosnet"),
    ('predict good.png --model preresnet32', 'there are no weights for preresnet32.cifar10'),
    ('predict good.png --model zerosnet20 --checkpoint none.pth', 'none.pth does not exist or is no file'),
    ('predict good.png --model zerosnet20 --checkpoint two', 'two is a folder: name a file in it'),
    ('predict good.png --model zerosnet20 --checkpoint text.pth', 'text.pth (13 bytes) cannot be read as a checkpoint'),
    ('predict good.png --model zerosnet20 --checkpoint cut.safetensors', 'cut.safetensors (9999 bytes) cannot be read'),
    ('predict good.png --model preresnet20 --checkpoint theirs.pth', 'theirs.pth: the state dict does not fit preres'),
    ('predict good.png --model zerosnet20 --class-map map.json', 'expected outputs from 0 to 9 in map.json, got 10'),
    ('predict good.png --model zerosnet20 --class-map broken.json', 'broken.json is not a readable class map'),
    ('predict good.png --model zerosnet20 --class-map names.json', 'names.json is no class map: expected JSON'),
    ('predict good.png --model zerosnet20 --model-kwargs method', 'expected KEY=VALUE, such as method=ab3, got method'),
    ('predict good.png --model zerosnet20 --model-kwargs in_chans=4', 'model zerosnet20: expected 1 input channel'),
    (
        'predict good.png --model zerosnet20 --model-kwargs num_classes=0',
        'expected a model with a classifier, got one with num_classes=0',
    ),
    ('predict good.png --model zerosnet20 --model-kwargs features_only=True', 'in_chans=1, got features_only=True'),
    ('predict good.png --model zerosnet20 --model-kwargs act_layer=foo', "sigmoid, tanh, identity, got 'foo'"),
    ('predict good.png --model zerosnet20 --model-kwargs act_layer=3', 'sigmoid, tanh, identity, got 3'),
    ('info zerosnet32 --model-kwargs norm_layer=foo', 'norm_layer: expected one of batchnorm2d, groupnorm, '),
    ('convert theirs.pth out.safetensors --model-kwargs norm_layer=foo', "frn, frntlu, got 'foo'"),
    (f'{TRAIN} --data-dir two --model-kwargs act_layer=foo', '--model-kwargs act_layer: expected one of relu, relu6, '),
    ('info zerosnet20 --model-kwargs features_only=True', 'model zerosnet20.cifar10: expected arguments of a network'),
    ('info zerosnet20 --model-kwargs pretrained=False', 'such as in_chans=1, got pretrained=False'),
    ('info zerosnet20 --checkpoint other_arch.pth', 'expected a checkpoint of zerosnet20.cifar10, got one of mul'),
    # list
    ("list 'zerosnet21*'", "no network of this package matches 'zerosnet21*'; nearest: zerosnet"),
    ("list zerosnet20 ''", "no network of this package matches ''"),
    ("list 'zerosnet164*' --pretrained", 'none of zerosnet164* has packaged weights; these have: zerosnet20.cifar10'),
    # info
    ('info zerosnet21', "'zerosnet21' is no network of this package; nearest: zerosnet"),
    ('info resnet10t', "resnet10t is a network of timm's own; timm_zerosnet.weights_overlay('resnet10t.cifar10')"),
    ('info resnet18', "'resnet18' is no network of this package; nearest: lmresnet18, preresnet18"),
    ('info zerosnet20.cifar11', "'zerosnet20.cifar11': zerosnet20 has no tag 'cifar11'; expected one of cifar100"),
    ('info zerosnet20 --checkpoint none.pth', 'none.pth does not exist'),
    ('info preresnet20 --checkpoint theirs.pth', 'theirs.pth: the state dict does not fit preresnet20'),
    ('info zerosnet32 --model-kwargs colour=red', 'model zerosnet32.cifar10 cannot be made: '),
    # convert
    ('convert theirs.pth out.pth', "cannot write out.pth: expected .safetensors, got '.pth'; name a file"),
    ('convert theirs.pth folder.safetensors', 'cannot write folder.safetensors: it is a folder; name a file'),
    ('convert theirs.pth none/out.safetensors', 'cannot write none/out.safetensors: none is not a folder; make it'),
    ('convert cut.safetensors cut.safetensors', 'expected another file than ORIGINAL, got cut.safetensors'),
    ('convert none.pth out.safetensors', 'none.pth does not exist or is no file'),
    ('convert text.pth out.safetensors', 'text.pth (13 bytes) cannot be read as a checkpoint: it is no PyTorch check'),
    ('convert list.pth out.safetensors', 'bytes) cannot be read as a checkpoint: it holds no state dict'),
    ('convert other.pth out.safetensors', 'other.pth holds 1 entries, 0 basic blocks: it fits no network'),
    (
        'convert nan.pth out.safetensors --model zerosnet20',
        'nan.pth: 1 entries of the state dict for zerosnet20 hold N',
    ),
    ('convert shape.pth out.safetensors --model zerosnet20', 'shape.pth: the state dict does not fit zerosnet20'),
    ('convert theirs.pth out.safetensors --model zerosnet32', 'theirs.pth: the state dict does not fit zerosnet32'),
    ('convert theirs.pth out.safetensors --model zeronet20', "'zeronet20' is no network of this package; nearest: zer"),
    ('convert theirs.pth out.safetensors --model-kwargs colour=red', 'cannot be made: '),
    ('convert theirs.pth out.safetensors --average ema', 'holds no average of its weights: expected --average'),
    ('convert nan.pth out.safetensors', 'nearest is zerosnet20: 1 entries of the state dict for zerosnet20 hold'),
    # compare
    ('compare', 'the following arguments are required: DIR, A, B'),
    ('compare two zerosnet20 preresnet20', 'two holds no run: cells.sqlite is missing'),
    # robustness and corrupt
    (f'{ROBUSTNESS} --data ten.npz --limit 0', 'limit: expected an integer >= 1, got 0'),
    (f'{ROBUSTNESS} --data ten.npz --suite imagenet-c', 'suite imagenet-c is for 64 px and more'),
    (
        f'{ROBUSTNESS} --data ten.npz --model-kwargs features_only=True',
        'such as in_chans=1, got features_only=True',
    ),
    (f'{ROBUSTNESS} --data none', 'none is neither an npz file nor a folder'),
    (f'{ROBUSTNESS} --data flat', 'flat holds no class folders: expected one folder of images for each class'),
    (f'{ROBUSTNESS} --data floats.npz', 'y_test, got float64 (2, 32, 32, 3)'),
    (f'{ROBUSTNESS} --data text.png', 'text.png is neither an npz file nor a folder'),
    (f'{ROBUSTNESS} --data ten.npz --corruption fog', "unknown perturbation 'fog' of suite 'zerosnet'"),
    (
        f'{ROBUSTNESS} --data ten.npz --levels 7',
        'const level: expected a number from -1 to 1, as pixels lie in [0, 1], got 7',
    ),
    (f'{ROBUSTNESS} --data ten.npz --suite cifar', "unknown suite 'cifar': did you mean cifar-c"),
    (f'{ROBUSTNESS} --data ten.npz --seeds 0', 'expected --seeds >= 1, got 0'),
    (f'{ROBUSTNESS} --data ten.npz --device gpu', "device 'gpu' cannot be used"),
    (f'{ROBUSTNESS} --data ten.npz --model-kwargs x', 'expected KEY=VALUE, such as method=ab3, got x'),
    (
        'robustness --model zerosnet20 --data ten.npz --out good.png',
        'cannot write good.png: it is a file; name a folder',
    ),
    ('corrupt ten.npz --out good.png', 'cannot write good.png: it is a file; name a folder'),
    ('corrupt ten.npz --out out --layout zip', "unknown layout 'zip'"),
    ('corrupt ten.npz --out out --size 0', 'size: expected an integer >= 1, got 0'),
    ('corrupt ten.npz --out out --crop-pct 0.9', 'expected a size beside crop_pct=0.9, got none'),
    ('corrupt ten.npz --out out --limit -1', 'limit: expected an integer >= 1, got -1'),
    # weights and publish
    ('weights', 'the following arguments are required: ACTION'),
    (f'{WEIGHTS} --tag cifar10 --recipe none', 'expected a YAML file or one of the recipes long, paper, short, zoo'),
    (f'{WEIGHTS} --tag mnist --recipe short', 'tag: expected cifar10 or cifar100, with or without _'),
    (f'{WEIGHTS} --tag cifar10 --recipe short --date today', "date: expected YYYY-MM-DD, got 'today'"),
    (f'{WEIGHTS} --tag cifar10 --recipe short', 'none.csv does not exist; expected summary.csv and args.yaml'),
    ('publish zerosnet21.cifar10 --namespace me', "there is no packaged weight 'zerosnet21.cifar10'; nearest: zerosn"),
    ('publish --namespace a/b --dry-run --out out', 'namespace: expected the name of a user or an organization'),
    ('publish --namespace me --out out', '--out is the folder of --dry-run'),
    ('publish --namespace me --dry-run --out good.png', 'cannot write good.png: it is a file; name a folder'),
    # train and validate
    ('train --model zerosnet20', 'expected a recipe as the first argument, such as short, got --model'),
    ('train none --model zerosnet20', "expected a YAML file or one of the recipes long, paper, short, zoo, got 'none'"),
    ('train good.yaml', 'no model: give --model NAME'),
    ('train unknown.yaml --model zerosnet20', 'unknown.yaml has epocs (did you mean epochs?): expected arguments of'),
    ('train type.yaml --model zerosnet20', "argument --epochs: invalid int value: 'many'"),
    ('train list.yaml --model zerosnet20', 'list.yaml: expected lines of the form name: value, got a list'),
    ('train broken.yaml --model zerosnet20', 'broken.yaml is not a readable YAML file'),
    (TRAIN, 'no data: give --data-dir DIR, or'),
    (f'{TRAIN} --data-dir none', '--data-dir none does not exist in'),
    (f'{TRAIN} --data-dir two', 'two/train has 2 classes, the network 10 outputs: give --num-classes 2'),
    (f'{TRAIN} --data-dir two --num-classes 2', 'has 2 images, too few for a batch of'),
    (f'{TRAIN} --data-dir two --epochs 0', 'expected --epochs to be at least 1, got 0'),
    (
        f'{TRAIN} --data-dir two --output good.png',
        'cannot write good.png: it is a file; --output DIR names another place',
    ),
    (f'{TRAIN} --timm-scripts none', "none/train.py does not exist; expected a folder that holds timm's train.py"),
    ('train --continue two', 'expected a run with the args.yaml that train.py writes, got two'),
    ('train --continue', 'expected the folder of a run after --continue'),
    ('validate --model zerosnet21 --data-dir two', "timm knows no model 'zerosnet21'"),
    ('validate --model zerosnet20 --data-dir none', '--data-dir none does not exist'),
    ('validate --model zerosnet20 --data-dir two --num-classes 2 --checkpoint other.pth', 'other.pth'),
    (f'{VALIDATE} --data-dir two --checkpoint other.pth --model-kwargs norm_layer=foo', 'norm_layer: expected one of '),
    # demo
    ('demo --out out --epochs 0', 'expected a seed from 0 to 2**32 - 1 and at least 1 epoch, got seed=0, epochs=0'),
    ('demo --out good.png', 'cannot write good.png: it is a file; name a folder'),
]


@pytest.mark.parametrize('line, message', REFUSED, ids=[line or 'nothing' for line, _ in REFUSED])
def test_refused(line, message, inputs, monkeypatch, capsys):
    monkeypatch.chdir(inputs)
    monkeypatch.setenv('TIMM_SCRIPTS', str(STAND_IN))
    before = content(inputs)
    code, error = run(shlex.split(line), capsys)
    left = set(content(inputs)) - set(before)
    made = (inputs / 'out').exists()
    shutil.rmtree(inputs / 'out', ignore_errors=True)
    assert code == 2 and 'Traceback' not in error
    *usage, last = error.splitlines()
    assert message in last, error
    assert last.startswith(('timm-zerosnet: ', 'timm-zerosnet train: ', 'timm-zerosnet validate: ')) or usage
    assert not left and not made
    assert {name: value for name, value in content(inputs).items() if name in before} == before


def test_good_images_among_bad_ones(inputs, monkeypatch, capsys):
    monkeypatch.chdir(inputs)
    assert cli.main(['predict', 'text.png', 'good.png', 'two', '--model', 'zerosnet20', '--json']) == 1
    found = capsys.readouterr()
    assert [('error' in row, row['file']) for row in json.loads(found.out)] == [
        (True, 'text.png'),
        (False, 'good.png'),
        (True, 'two'),
    ]
    assert len(found.err.splitlines()) == 2


@pytest.mark.parametrize('error, code, message', [(KeyboardInterrupt, 130, 'interrupted'), (ImportError('x'), 2, 'x')])
def test_import_that_fails(error, code, message, monkeypatch, capsys):
    class Finder:
        def find_spec(self, name, path=None, target=None):
            if name == 'timm_zerosnet.cli':
                raise error

    monkeypatch.delitem(sys.modules, 'timm_zerosnet.cli')
    monkeypatch.setattr(sys, 'meta_path', [Finder(), *sys.meta_path])
    assert timm_zerosnet_autoload.command() == code
    assert capsys.readouterr().err.splitlines()[-1].endswith(message)


WRITERS = [
    'convert theirs.pth out/new.safetensors',
    'stability euler --plot out/new.png',
    'corrupt ten.npz --out out --corruption contrast --levels 1 --layout npz',
    'publish zerosnet20.cifar10 --namespace me --dry-run --out out',
]


def started(line, inputs, out, limit=None):
    """The command as another process, with ``out`` for the folder out/ and whole paths for what is read."""
    words = [
        word.replace('out', str(out), 1) if word.startswith('out') else str(inputs / word) if '.' in word else word
        for word in shlex.split(line.replace('zerosnet20.cifar10', 'WEIGHT'))
    ]
    words = ['zerosnet20.cifar10' if word == 'WEIGHT' else word for word in words]
    return start(words, out.parent / f'{out.name}-{time.monotonic_ns()}.log', limit)


@pytest.mark.skipif(not FORKS, reason='no forkserver here')
@pytest.mark.parametrize('line', WRITERS)
def test_file_that_cannot_grow(line, inputs, tmp_path):
    """As on a full disk: the operating system refuses to write on."""
    out = tmp_path / 'out'
    out.mkdir()
    process = started(line, inputs, out, limit=2000)
    process.join(120)
    (log,) = tmp_path.glob('*.log')
    assert process.exitcode == 2 and 'Traceback' not in log.read_text(), log.read_text()
    assert log.read_text().splitlines()[-1].startswith(f'timm-zerosnet: cannot write {out}')
    assert 'File too large' in log.read_text()
    assert not [path for path in out.rglob('*') if path.is_file() and path.suffix in ('.safetensors', '.png', '.npz')]


@pytest.mark.parametrize('line', WRITERS[:2])
@pytest.mark.parametrize('old', [None, b'old'])
def test_full_disk(line, old, inputs, tmp_path, monkeypatch, capsys):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(os, 'replace', full)
    monkeypatch.chdir(inputs)
    words = [word.replace('out', str(tmp_path), 1) if word.startswith('out') else word for word in shlex.split(line)]
    target = Path(next(word for word in words if word.startswith(str(tmp_path))))
    if old:
        target.write_bytes(old)
    code, error = run(words, capsys)
    said = f'cannot write {target}: No space left on device; make room there, or name another place'
    assert code == 2 and error == f'timm-zerosnet: {said}\n'
    assert [path.read_bytes() for path in tmp_path.iterdir()] == ([old] if old else [])


INTERRUPTED = [
    ('stability euler --plot out/x.png', 'timm_zerosnet.method_plot._region'),
    ('predict good.png --model zerosnet20', 'timm_zerosnet.commands.predict.probabilities'),
    ('list', 'timm_zerosnet.commands.list_.cost'),
    ('info zerosnet20', 'timm_zerosnet.commands.info.measure'),
    ('convert theirs.pth out/x.safetensors', 'timm_zerosnet.commands.convert.load_file'),
    ('corrupt ten.npz --out out/x --corruption contrast --levels 1 --layout npz', 'numpy.savez'),
    ('demo --out out', 'timm_zerosnet.demo.train'),
]


@pytest.mark.parametrize('line, where', INTERRUPTED)
def test_interrupted(line, where, inputs, tmp_path, monkeypatch, capsys):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    import timm_zerosnet.demo  # noqa: F401
    import timm_zerosnet.method_plot  # noqa: F401

    monkeypatch.setattr(where, interrupt)
    (tmp_path / 'out').mkdir()
    monkeypatch.chdir(inputs)
    words = [word.replace('out', str(tmp_path / 'out'), 1) if word.startswith('out') else word for word in line.split()]
    code, error = run(words, capsys)
    assert code == 130 and error.splitlines()[-1] == 'interrupted' and 'Traceback' not in error
    made = {path.name for path in (tmp_path / 'out').rglob('*') if path.is_file()}
    assert made <= {'run.lock', '.contrast-1.npz.partial'}


@pytest.mark.skipif(not FORKS, reason='no forkserver here')
def test_two_processes_write_one_file(inputs, tmp_path):
    out = tmp_path / 'out'
    out.mkdir()
    both = [started(WRITERS[0], inputs, out) for _ in range(2)]
    for process in both:
        process.join(120)
    assert [process.exitcode for process in both] == [0, 0]
    assert [path.name for path in out.iterdir()] == ['new.safetensors']
    assert len(load_file(out / 'new.safetensors')) == len(load_file(weights.weight_file('zerosnet20.cifar10')))


def test_two_processes_corrupt_into_one_folder(inputs, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(inputs)
    with locked_folder(tmp_path):
        code, error = run(['corrupt', 'ten.npz', '--out', str(tmp_path)], capsys)
    assert code == 2 and f'{tmp_path} is in use by another run (process {os.getpid()})' in error
    assert [path.name for path in tmp_path.iterdir()] == ['run.lock']


@pytest.mark.slow
@pytest.mark.parametrize(
    'target, code, message',
    [
        ('| true', 141, ''),
        ('>&-', 0, ''),
        ('>/dev/full', 2, 'No space left on device'),  # see test_unwritable.py
    ],
)
def test_output_that_nobody_takes(target, code, message):
    if not Path('/dev/full').exists():
        pytest.skip('no /dev/full here')
    command = f'{shlex.quote(sys.executable)} -m timm_zerosnet.cli stability euler --json'
    line = f'set -o pipefail; {command} {target}'
    done = subprocess.run(['bash', '-c', line], capture_output=True, text=True)
    assert done.returncode in (code, 0 if target.startswith('|') else code)  # the reader may be gone too late
    assert 'Traceback' not in done.stderr and 'Exception ignored' not in done.stderr and message in done.stderr


@pytest.mark.parametrize('encoding', ['ascii', 'utf-8:strict'])
def test_output_that_takes_few_characters(encoding, inputs):
    name = os.fsdecode('ß'.encode() + b'\xff.png')
    shutil.copy(inputs / 'good.png', inputs / name)
    try:
        for words in (['predict', name, '--model', 'zerosnet20', '--json'], ['stability', 'all-ones']):
            environment = {**os.environ, 'PYTHONIOENCODING': encoding}
            done = python('-m', 'timm_zerosnet.cli', *words, cwd=inputs, env=environment)
            assert done.returncode == 0 and 'codec' not in done.stderr
            assert words[0] == 'stability' or json.loads(done.stdout)[0]['file'] == name
    finally:
        (inputs / name).unlink()
