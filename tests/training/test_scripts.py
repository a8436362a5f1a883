"""Finding, downloading and running timm's scripts, on stand-ins for them."""

import http.server
import json
import sys
import threading
from contextlib import nullcontext
from pathlib import Path

import pytest
import timm
from places import STAND_IN

from timm_zerosnet import train, validate
from timm_zerosnet._errors import ScriptError
from timm_zerosnet._files import OutputError
from timm_zerosnet.training import scripts as timm_scripts

REPORT = (STAND_IN / 'validate.py').read_text()
NETWORK = ['--model', 'zerosnet20']


@pytest.fixture(autouse=True)
def no_scripts_and_no_gpu(monkeypatch):
    monkeypatch.delenv('TIMM_SCRIPTS', raising=False)
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)


@pytest.fixture
def images(tmp_path):
    from PIL import Image

    for name in timm.get_pretrained_cfg('zerosnet20').label_names:
        path = tmp_path / 'images' / 'validation' / name / '0.png'
        path.parent.mkdir(parents=True)
        Image.new('RGB', (32, 32)).save(path)
    return tmp_path / 'images'


@pytest.mark.parametrize('how', ['--timm-scripts DIR', '--timm-scripts=DIR', 'TIMM_SCRIPTS'])
def test_runs_the_script_with_device_and_crop(how, images, capsys, monkeypatch):
    option = [part.replace('DIR', str(STAND_IN)) for part in how.split()] if '--' in how else []
    if not option:
        monkeypatch.setenv('TIMM_SCRIPTS', str(STAND_IN))
    before = list(sys.argv), list(sys.path)
    assert validate.main([*option, *NETWORK, '--data-dir', str(images)]) == 0
    argv, name, takes_pad4 = json.loads(capsys.readouterr().out)
    assert argv[1:] == [*NETWORK, '--data-dir', str(images), '--device', 'cpu'] and name == '__main__' and takes_pad4
    assert (sys.argv, sys.path) == before


def test_device_that_was_given_stays(images, capsys):
    assert validate.main(['--timm-scripts', str(STAND_IN), '--device=xpu', *NETWORK, '--data-dir', str(images)]) == 0
    assert '--device=xpu' in (argv := json.loads(capsys.readouterr().out)[0]) and 'cpu' not in argv


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--data-dir', 'DIR', '--split', 'trian'], 'images has no folder for --split trian; it has validation'),
        (['--data-dir', 'DIR', '--results-file', 'DIR'], 'images: it is a folder; name a file'),
        (['--data-dir', 'DIR', '--results-file', 'DIR/f/r.csv'], 'f/r.csv: DIR/f is not a folder; make it, or name'),
        (['--data-dir', 'DIR', '--results-file', 'DIR/no/r.csv'], 'no is not a folder; make it, or name another place'),
        (['--data-dir', 'DIR', '--model', ''], "--model '': expected a name of timm's, such as zerosnet20"),
        (['elsewhere', '--data-dir', 'DIR'], "'elsewhere' and --data-dir "),
        (
            ['--data-dir', 'DIR', '--num-classes', '2'],
            'expected 10 classes, as the weights of zerosnet20 have, got --num',
        ),
        (['--data-dir', 'DIR', '--model', 'zerosnet164'], 'there are no weights for zerosnet164.cifar10'),
        (
            ['--data-dir', 'DIR', '--model', 'zerosnet20.cifar100'],
            'the network 100 outputs: give --model zerosnet20.cifar10 or other data',
        ),
    ],
)
def test_what_validate_would_take_for_something_else(arguments, message, images, capsys):
    (images / 'f').touch()
    arguments = [argument.replace('DIR', str(images)) for argument in arguments]
    assert validate.main(['--timm-scripts', str(STAND_IN), *NETWORK, *arguments]) == 2
    assert message.replace('DIR', str(images)) in capsys.readouterr().err


@pytest.mark.skipif(not Path('/dev/full').exists(), reason='no /dev/full here')
def test_results_file_on_a_full_device_is_refused_before_the_measurement(images, capsys):
    line = ['--timm-scripts', str(STAND_IN), *NETWORK, '--data-dir', str(images), '--results-file']
    assert validate.main([*line, '/dev/full']) == 2
    said = capsys.readouterr()
    assert not said.out and said.err.startswith('timm-zerosnet validate: cannot write /dev/full: No space left on dev')
    assert validate.main([*line, '/dev/null']) == 0


def test_results_file_that_is_there_keeps_its_content_until_the_script_writes_it(images, tmp_path):
    (tmp_path / 'old.csv').write_text('old')
    line = [
        '--timm-scripts',
        str(STAND_IN),
        *NETWORK,
        '--data-dir',
        str(images),
        '--results-file',
        str(tmp_path / 'old.csv'),
    ]
    assert validate.main(line) == 0 and (tmp_path / 'old.csv').read_text() == 'old'


def test_what_validate_takes_goes_to_it(images, tmp_path, capsys):
    """The labels of some outputs, all models, a file of names, and weights that a network of timm's reads by itself."""
    (tmp_path / 'labels.txt').write_text('\n'.join(map(str, range(10))))
    (tmp_path / 'names.txt').write_text('zerosnet20\nzerosnet56\n')
    (tmp_path / 'jax.npz').write_bytes(b'PK')
    for more in (
        ['--model', 'zerosnet20.cifar100', '--valid-labels', tmp_path / 'labels.txt'],
        ['--model', 'all'],
        ['--model', tmp_path / 'names.txt'],
        ['--model', 'resnet18', '--num-classes', 10, '--checkpoint', tmp_path / 'jax.npz'],
    ):
        line = [*map(str, ['--timm-scripts', STAND_IN, '--data-dir', images, *more])]
        assert validate.main(line) == 0, capsys.readouterr().err
        assert json.loads(capsys.readouterr().out)[0][3:5] == line[4:6]


def test_keyword_without_a_value(images, capsys):
    line = ['--timm-scripts', STAND_IN, '--data-dir', images, '--model-kwargs', 'ab3']
    for launcher, words in ((validate, line), (train, ['short', '--model', 'multistep_resnet20', *line])):
        assert launcher.main([*map(str, words)]) == 2
        assert (
            'expected KEY=VALUE after --model-kwargs and the like, such as method=ab3; among '
            in capsys.readouterr().err
        )


def test_class_folders_need_no_split(images):
    assert validate.main(['--timm-scripts', str(STAND_IN), *NETWORK, '--data-dir', str(images / 'validation')]) == 0


def no_proxy(monkeypatch):
    for name in ('no_proxy', 'NO_PROXY'):
        monkeypatch.setenv(name, '127.0.0.1')


@pytest.fixture
def releases(tmp_path, monkeypatch):
    """A server of releases on loopback, to which no proxy leads, and an empty cache."""
    no_proxy(monkeypatch)
    served, asked = tmp_path / 'served', []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(served))

        def do_GET(self):
            asked.append(self.path)
            super().do_GET()

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(timm_scripts, 'RELEASES', f'http://127.0.0.1:{server.server_port}')
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    folder = served / f'v{timm.__version__}'
    folder.mkdir(parents=True)
    yield folder, asked, tmp_path / 'cache'
    server.shutdown()
    server.server_close()


def files(folder):
    return [path for path in folder.rglob('*') if path.is_file()]


def test_release_of_the_installed_timm_is_downloaded_once(releases, images, capsys):
    folder, asked, cache = releases
    (folder / 'validate.py').write_text(REPORT)
    for _ in range(2):
        assert validate.main([*NETWORK, '--data-dir', str(images)]) == 0
    assert asked == [f'/v{timm.__version__}/validate.py']
    (script,) = files(cache)
    assert script.read_text() == REPORT and timm_scripts.script_version(script) == timm.__version__
    assert f'downloading {timm_scripts.RELEASES}/v{timm.__version__}/validate.py' in capsys.readouterr().out


@pytest.mark.parametrize('content', [None, REPORT[:-50], '<html>log in</html>', ''])
def test_what_is_no_whole_script_is_not_kept(content, releases, images, capsys):
    folder, _, cache = releases
    if content is not None:
        (folder / 'validate.py').write_text(content)
    assert validate.main(['--data-dir', str(images)]) == 2
    message = capsys.readouterr().err
    assert (
        f'cannot download {timm_scripts.RELEASES}/v{timm.__version__}/validate.py' in message
        and '--timm-scripts DIR or TIMM_SCRIPTS' in message
    )
    assert 'network connection' in message and files(cache) == []


def test_offline_and_read_only_name_both_ways_out(tmp_path, monkeypatch):
    no_proxy(monkeypatch)
    monkeypatch.setattr(timm_scripts, 'RELEASES', 'http://127.0.0.1:9')
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    with pytest.raises(ScriptError, match='(?s)refused.*--timm-scripts DIR or TIMM_SCRIPTS.*network'):
        timm_scripts.find_script('train.py')
    (tmp_path / 'file').write_text('')
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'file'))
    with pytest.raises(
        OutputError, match='cannot write .* is a file; name a folder .*--timm-scripts DIR or TIMM_SCRIPTS'
    ):
        timm_scripts.find_script('train.py')


@pytest.mark.parametrize(
    'text, said',
    [
        ("assert 1 > 2, 'a message'", "timm's script stopped at `assert 1 > 2, 'a message'`: a message"),
        ('assert 1 > 2', "timm's script stopped at `assert 1 > 2`: it says no more"),
        ('import no_such_module', "timm's script stopped at `import no_such_module`: No module named 'no_such_module'"),
        ("raise ValueError('the batch is too large')", 'the batch is too large'),
        ('import timm\ntimm.create_model("zerosnet21")', 'Unknown model (zerosnet21)'),
    ],
)
def test_what_the_script_refuses_is_one_line(text, said, images, tmp_path, capsys):
    main = f"if __name__ == '__main__':\n    {text}".replace('\ntimm', '\n    timm')
    (tmp_path / 'validate.py').write_text(REPORT.split('if __name__')[0] + main)
    assert validate.main(['--timm-scripts', str(tmp_path), *NETWORK, '--data-dir', str(images)]) == 2
    assert capsys.readouterr().err == f'timm-zerosnet validate: {said}\n'


@pytest.mark.parametrize('text, kind', [('max([])', ValueError), ('int', None), ('{}["x"]', KeyError)])
def test_a_bug_of_the_script_keeps_its_traceback(text, kind, images, tmp_path):
    (tmp_path / 'validate.py').write_text(REPORT.split('if __name__')[0] + f"if __name__ == '__main__':\n    {text}")
    with pytest.raises(kind) if kind else nullcontext():
        validate.main(['--timm-scripts', str(tmp_path), *NETWORK, '--data-dir', str(images)])


def test_version_of_a_checkout(tmp_path):
    assert timm_scripts.script_version(tmp_path / 'train.py') == ''
    (tmp_path / 'timm').mkdir()
    (tmp_path / 'timm' / 'version.py').write_text("__version__ = '1.0.29.dev0'\n")
    assert timm_scripts.script_version(tmp_path / 'train.py') == '1.0.29.dev0'


@pytest.mark.parametrize(
    'text, message',
    [
        ('import timm.no_such_module', 'does not run with timm .*take the script of v'),
        ('x = 1', "expected timm's train.py with its argument parser, got "),
    ],
)
def test_script_of_another_time(text, message, tmp_path):
    (tmp_path / 'train.py').write_text(text)
    with pytest.raises(ScriptError, match=message):
        timm_scripts.script_parser(tmp_path / 'train.py')


@pytest.mark.parametrize(
    'command, arguments, message',
    [
        (train, [], 'usage'),
        (train, ['--model', 'zerosnet20'], 'expected a recipe as the first argument, such as short, got --model'),
        (train, ['shrot'], "expected a YAML file or one of the recipes long, paper, short, zoo, got 'shrot'"),
        (train, ['short', '--timm-scripts'], "expected the folder that holds timm's scripts after --timm-scripts"),
        (train, ['short', '--timm-scripts', 'nowhere'], 'nowhere/train.py does not exist'),
        (train, ['--continue'], 'expected the folder of a run after --continue'),
        (validate, ['--timm-scripts=nowhere'], 'nowhere/validate.py does not exist'),
    ],
)
def test_errors(command, arguments, message, capsys):
    assert command.main(arguments) == 2
    out, err = capsys.readouterr()
    assert message in out + err and 'Traceback' not in err
