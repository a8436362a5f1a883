"""The launchers and models that lie outside timm: what is said where a Hub, a repo or a folder does not give them."""

import argparse
import hashlib
import json
import re
import shlex
import sys
from pathlib import Path

import numpy
import PIL.Image
import pytest
import timm
import torch
import yaml
from conftest import succeed
from hub_server import RIGHT_TOKEN, HubServer
from huggingface_hub import HfApi, constants
from places import CIFAR10_SAMPLE, STAND_IN
from small_trainings import options, write_images

from timm_zerosnet import cli, train, validate, weights
from timm_zerosnet._errors import UnknownModelError, WeightError
from timm_zerosnet.checkpoint import RECORD
from timm_zerosnet.maintain import publish as publishing
from timm_zerosnet.model_names import create, model_config, script_arguments
from timm_zerosnet.recorded import PREPARATION, checkpoint_arguments, checkpoint_preprocessing
from timm_zerosnet.robustness import evaluate
from timm_zerosnet.robustness.models import Source

NAME = 'zerosnet20.cifar10'
REPO = f'org/{NAME}'
EXPIRED = 'hf_expiredexpired'
NOWHERE = 'http://127.0.0.1:9'


@pytest.fixture(scope='module')
def published():
    with HubServer() as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr('huggingface_hub.constants.HF_HUB_DISABLE_XET', True)
        list(publishing.publish([NAME], 'org', api=HfApi(server.url, token=RIGHT_TOKEN)))
        yield server


def endpoint(url, monkeypatch):
    monkeypatch.setattr('huggingface_hub.constants.ENDPOINT', url)
    template = url + '/{repo_id}/resolve/{revision}/{filename}'
    monkeypatch.setattr('huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE', template)


@pytest.fixture
def hub(published, tmp_path, monkeypatch):
    """A Hub with one repo, and an empty cache; who asks a second time has to wait, which is no part of these tests."""
    endpoint(published.url, monkeypatch)
    for name, value in {
        'HF_HUB_CACHE': str(tmp_path / 'cache'),
        'HF_TOKEN_PATH': str(tmp_path / 'token'),
        'HF_HUB_OFFLINE': False,
    }.items():
        monkeypatch.setattr(f'huggingface_hub.constants.{name}', value)

    def wait(seconds):
        raise AssertionError('it is asked again')

    monkeypatch.setattr('huggingface_hub.utils._http.time.sleep', wait)
    monkeypatch.setenv('NO_PROXY', '127.0.0.1')
    monkeypatch.delenv('HF_TOKEN', raising=False)
    yield published
    published.status.clear()


def message(model, capsys):
    line = ['--timm-scripts', STAND_IN, '--model', model, '--pretrained', '--data-dir', STAND_IN]
    assert validate.main([*map(str, line)]) == 2
    out, err = capsys.readouterr()
    assert err.startswith(f'timm-zerosnet validate: --model {model}: ') and err.count('\n') == 1 and not out
    return err


def test_config_of_a_repo(hub):
    assert model_config(f'hf-hub:{REPO}')['num_classes'] == 10
    assert model_config(f'hf_hub:{REPO}@main')['num_classes'] == 10


@pytest.mark.parametrize('offline', [False, True])
def test_uncached_without_a_hub(offline, hub, monkeypatch, capsys):
    endpoint(hub.url if offline else NOWHERE, monkeypatch)
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_OFFLINE', offline)
    said = message(f'hf-hub:{REPO}', capsys)
    assert 'cannot be reached' in said and 'HF_HUB_OFFLINE' in said
    assert f'`hf download {REPO} --local-dir DIR` elsewhere, bring DIR here and give --model local-dir:DIR' in said


def test_cached_without_a_hub(hub, monkeypatch, capsys):
    expected = model_config(f'hf-hub:{REPO}')
    endpoint(NOWHERE, monkeypatch)
    assert model_config(f'hf-hub:{REPO}') == expected
    assert f'going on with what the cache holds of {REPO}' in capsys.readouterr().err


def test_hub_that_is_ill(hub, capsys):
    hub.status['resolve'] = 503
    assert 'it answers 503) and the cache does not hold' in message(f'hf-hub:{REPO}', capsys)


@pytest.mark.parametrize('where', ['HF_TOKEN', 'file'])
def test_expired_token(where, hub, tmp_path, monkeypatch, capsys):
    """An expired token would make a public model look like a missing one."""
    if where == 'HF_TOKEN':
        monkeypatch.setenv('HF_TOKEN', EXPIRED)
    else:
        (tmp_path / 'token').write_text(EXPIRED, encoding='utf-8')
    said = message(f'hf-hub:{REPO}', capsys)
    assert 'the Hub refused the token: it is wrong, expired or revoked' in said and EXPIRED not in said


@pytest.mark.parametrize(
    'model, expected',
    [
        ('hf-hub:org/none', 'the Hub has no org/none, or it is private'),
        ('hf-hub:', 'expected hf-hub:ORG/NAME, got hf-hub: ('),
        ('hf-hub:a/b/c', 'expected hf-hub:ORG/NAME, got hf-hub:a/b/c ('),
        ('local-dir:', 'config.json does not exist: expected a folder with config.json and weights'),
        ('local-dir:none', 'none/config.json does not exist'),
    ],
)
def test_wrong_names(model, expected, hub, capsys):
    assert expected in message(model, capsys)


@pytest.mark.parametrize(
    'text, expected',
    [
        ('{', 'config.json is no configuration of a model (JSONDecodeError'),
        ('[1]', 'config.json is no configuration of a model (AttributeError'),
        ('{}', "config.json is no configuration of a model (KeyError: 'architecture')"),
        ('{"architecture": "other20"}', "names 'other20', which is no model that timm knows"),
    ],
)
def test_folder_with_another_config(text, expected, tmp_path, capsys):
    (tmp_path / 'config.json').write_text(text, encoding='utf-8')
    assert expected in message(f'local-dir:{tmp_path}', capsys)


def test_repo_without_config(hub, monkeypatch, capsys):
    files = {name: content for name, content in hub.repos[REPO].files.items() if name != 'config.json'}
    monkeypatch.setattr(hub.repos[REPO], 'commits', [files])
    assert f'the Hub gives no config.json of {REPO}: ' in message(f'hf-hub:{REPO}', capsys)


def test_name_of_the_hub_without_its_prefix():
    with pytest.raises(
        UnknownModelError, match='hf-hub:timm/resnet18 is one of the Hub, local-dir:timm/resnet18 one in'
    ):
        model_config('timm/resnet18')


def test_repo_without_weights(hub, monkeypatch, capsys):
    files = {'config.json': hub.repos[REPO].files['config.json']}
    monkeypatch.setattr(hub.repos[REPO], 'commits', [files])
    monkeypatch.setattr(validate, 'check_data', lambda *_: None)
    monkeypatch.setattr(validate, 'run_script', lambda *_: timm.create_model(f'hf-hub:{REPO}', pretrained=True))
    assert validate.main(['--timm-scripts', str(STAND_IN), '--model', f'hf-hub:{REPO}']) == 2
    assert 'timm-zerosnet validate: the weights cannot be had from the Hub: 404' in capsys.readouterr().err


def test_folder_keeps_what_lies_beside_the_pretrained_config(tmp_path):
    config = {'architecture': 'zerosnet20', 'num_classes': 4, 'pretrained_cfg': {'num_classes': 9, 'crop_pct': 0.5}}
    (tmp_path / 'config.json').write_text(json.dumps(config), encoding='utf-8')
    found = model_config(f'local-dir:{tmp_path}')
    assert (found['num_classes'], found['crop_pct']) == (4, 0.5)


# weights that differ from their config


def flip(path):
    """Turn the lowest bit of the last byte round: a value that a network takes without a word."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)


@pytest.fixture
def folder(published, tmp_path):
    place = tmp_path / 'folder'
    place.mkdir()
    for name, content in published.repos[REPO].files.items():
        (place / name).write_bytes(content)
    return place


def test_published_config_and_card_name_the_sum(published):
    files = published.repos[REPO].files
    expected = weights.manifest()[NAME]['sha256']
    config = json.loads(files['config.json'])
    assert config['weight_file_sha256'] == expected and expected in files['README.md'].decode()
    assert 'weight_file_sha256' not in config['pretrained_cfg']


@pytest.mark.parametrize('how', ['predict', 'validate', 'evaluate', 'robustness'])
def test_flipped_bit_in_a_folder(how, folder, tmp_path, monkeypatch, capsys):
    model = f'local-dir:{folder}'
    assert Source(model).open().num_classes == 10
    flip(folder / 'model.safetensors')
    if how == 'evaluate':
        with pytest.raises(WeightError) as error:
            evaluate(model, numpy.zeros((1, 32, 32, 3), 'uint8'), numpy.zeros(1, int))
        said = str(error.value)
    elif how == 'validate':
        line = ['--timm-scripts', STAND_IN, '--model', model, '--pretrained', '--data-dir', STAND_IN]
        assert validate.main([*map(str, line)]) == 2
        said = capsys.readouterr().err
    else:
        image = tmp_path / 'a.png'
        PIL.Image.new('RGB', (32, 32)).save(image)
        sample = CIFAR10_SAMPLE
        rest = [image] if how == 'predict' else ['--data', sample, '--out', tmp_path / 'out']
        assert cli.main([how, '--model', model, *map(str, rest)]) == 2
        said = capsys.readouterr().err
    expected = weights.manifest()[NAME]['sha256']
    assert f'{folder}/model.safetensors is damaged or was changed: its config.json expects sha256 {expected}' in said
    assert 'fetch it again' in said


def test_train_refuses_a_published_file_that_differs_before_it_starts(hub, tmp_path, monkeypatch, capsys):
    flipped = bytearray(hub.repos[REPO].files['model.safetensors'])
    flipped[-1] ^= 1
    expected, found = (
        hashlib.sha256(content).hexdigest() for content in (hub.repos[REPO].files['model.safetensors'], flipped)
    )
    monkeypatch.setitem(hub.objects, found, bytes(flipped))
    monkeypatch.setattr(hub.repos[REPO], 'commits', [{**hub.repos[REPO].files, 'model.safetensors': bytes(flipped)}])
    for split in ('train', 'validation'):
        for i in range(10):
            (tmp_path / 'data' / split / f'c{i}').mkdir(parents=True)
            (tmp_path / 'data' / split / f'c{i}' / '1.png').touch()
    line = ['train', 'short', '--model', f'hf-hub:{REPO}', '--data-dir', tmp_path / 'data', '--batch-size', '10']
    line = [str(word) for word in (*line, '--output', tmp_path / 'out', '--timm-scripts', STAND_IN)]
    started = []
    monkeypatch.setattr(train, 'run_script', lambda script, arguments: started.append(arguments))
    assert cli.main([*line, '--pretrained']) == 2
    out, err = capsys.readouterr()
    assert f'its config.json expects sha256 {expected}, got {found}' in err and err.count('\n') == 1
    assert not out and not started
    assert cli.main(line) == 0 and len(started) == 1  # without these weights


# what the messages advise, done as they say


def hf(command, hub, tmp_path):
    """Run a command of huggingface_hub on another machine, which the Hub answers."""
    program, *words = shlex.split(command)
    here = {'HF_ENDPOINT': hub.url, 'HF_HOME': str(tmp_path / 'elsewhere'), 'HF_HUB_DISABLE_XET': '1'}
    succeed([Path(sys.executable).with_name(program), *words], tmp_path, **here, NO_PROXY='127.0.0.1', HF_TOKEN='')


def damaged_file(error):
    return Path(re.search(r': (\S+) is damaged or was changed', str(error.value))[1])


def test_advice_where_the_hub_cannot_be_reached(hub, tmp_path, monkeypatch, capsys):
    expected = create(NAME).state_dict()
    with monkeypatch.context() as patch:
        endpoint(NOWHERE, patch)
        said = message(f'hf-hub:{REPO}', capsys)
        command, model = re.search(r'run `(hf .*?)` elsewhere, bring DIR here and give --model (\S+)$', said).groups()
        folder = tmp_path / 'DIR'
        hf(command, hub, tmp_path)
        found = Source(model.replace('DIR', str(folder))).open().state_dict()
        assert all(torch.equal(found[key], expected[key]) for key in expected)

        flip(folder / 'model.safetensors')
        with pytest.raises(WeightError, match='; delete this file and fetch it again$') as error:
            Source(f'local-dir:{folder}').open()
        damaged_file(error).unlink()
        hf(command, hub, tmp_path)
        assert Source(f'local-dir:{folder}').open().num_classes == 10


def test_advice_for_a_damaged_file_in_the_cache(hub):
    model = f'hf-hub:{REPO}'
    Source(model).open()
    (stored,) = {path.resolve() for path in Path(constants.HF_HUB_CACHE).rglob('model.safetensors')}
    flip(stored)
    for _ in range(2):
        with pytest.raises(WeightError, match='delete this file and ask again, which fetches it anew$') as error:
            Source(model).open()
    damaged_file(error).unlink()
    assert Source(model).open().num_classes == 10 and stored.is_file()


def test_training_that_began_with_a_model_of_a_folder(folder, tmp_path):
    """Its checkpoint is one of the network that the folder's config names, under either name."""
    name, checkpoint = f'local-dir:{folder}', tmp_path / 'last.pth.tar'
    config = dict.fromkeys(PREPARATION) | {'input_size': [3, 48, 48], 'crop_pct': 1.0}
    args = argparse.Namespace(model=name, model_kwargs={}, gp='max', **config)
    vars(args)[RECORD] = {'architecture': 'zerosnet20', 'model_args': {}}
    network = timm.create_model('zerosnet20', num_classes=3)
    torch.save({'args': args, 'state_dict': network.state_dict()}, checkpoint)
    for model in (name, 'zerosnet20'):
        source = Source(model, checkpoint=checkpoint)
        assert (source.made_with, source.trained_on) == ({'global_pool': 'max'}, {'input_size': (3, 48, 48)})
        assert source.open().num_classes == 3
    assert checkpoint_preprocessing(checkpoint, 'zerosnet32', {}) == {}


def test_arguments_of_a_folders_config_are_those_of_the_training(folder, tmp_path):
    """timm applies them without recording them among the arguments."""
    name, checkpoint = f'local-dir:{folder}', tmp_path / 'last.pth.tar'
    config = json.loads((folder / 'config.json').read_text())
    (folder / 'config.json').write_text(json.dumps({**config, 'model_args': {'act_layer': 'silu'}}))
    args = argparse.Namespace(model=name, model_kwargs={})
    network = timm.create_model('zerosnet20', num_classes=3, act_layer='silu')
    torch.save({'args': args, 'state_dict': network.state_dict()}, checkpoint)
    assert checkpoint_arguments(checkpoint, name, {}) == {}, 'nothing says what the config had'
    vars(args)[RECORD] = {'architecture': 'zerosnet20', 'model_args': {'act_layer': 'silu'}}
    torch.save({'args': args, 'state_dict': network.state_dict()}, checkpoint)
    for model in (name, 'zerosnet20'):
        assert checkpoint_arguments(checkpoint, model, {}) == {'act_layer': 'silu'}
        with pytest.raises(WeightError, match='expected --model-kwargs act_layer=silu, as in its training'):
            checkpoint_arguments(checkpoint, model, {'act_layer': 'relu'})


def test_a_run_records_what_a_folders_config_says(folder, tmp_path):
    config = json.loads((folder / 'config.json').read_text())
    (folder / 'config.json').write_text(json.dumps({**config, 'model_args': {'act_layer': 'silu'}}))
    write_images(tmp_path / 'images')
    words = ['short', '--timm-scripts', STAND_IN, '--model', f'local-dir:{folder}']
    words += options(tmp_path / 'images', tmp_path, 'run', epochs=1)
    assert train.main([*map(str, words)]) == 0
    record = yaml.safe_load((tmp_path / 'run' / 'args.yaml').read_text())[RECORD]
    assert (record['architecture'], record['model_args']) == ('zerosnet20', {'act_layer': 'silu'})


def test_a_file_is_no_name_of_a_model(tmp_path):
    torch.save({}, tmp_path / 'last.pth.tar')
    with pytest.raises(
        UnknownModelError, match='it is a file: --model NAME --checkpoint .*last.pth.tar takes its weights'
    ):
        model_config(str(tmp_path / 'last.pth.tar'))


def test_folder_without_the_sum_loads_as_it_is(folder):
    config = json.loads((folder / 'config.json').read_text(encoding='utf-8'))
    del config['weight_file_sha256']
    (folder / 'config.json').write_text(json.dumps(config), encoding='utf-8')
    flip(folder / 'model.safetensors')
    assert Source(f'local-dir:{folder}').open().num_classes == 10


def test_weights_of_another_kind_are_none_of_the_config(folder):
    (folder / 'model.safetensors').rename(folder / 'pytorch_model.bin')
    with pytest.raises(WeightError, match='model.safetensors does not exist, but config.json names its sha256'):
        Source(f'local-dir:{folder}').open()


def test_own_checkpoint_needs_no_weights_of_the_repo(folder):
    flip(folder / 'model.safetensors')
    packaged = Path(weights.weight_file(NAME))
    assert Source(f'local-dir:{folder}', checkpoint=packaged).open().num_classes == 10


def test_a_hub_that_does_not_answer_is_not_asked_for_each_file_and_changes_no_setting(hub, monkeypatch, capsys):
    """Whoever asks a second time waits half a minute; another thread would see a setting of the process."""
    model = f'hf-hub:{REPO}'
    expected = Source(model).open().state_dict()
    snapshot = next(path for path in Path(constants.HF_HUB_CACHE).rglob('config.json')).parent
    with monkeypatch.context() as patch:
        endpoint(NOWHERE, patch)
        seen = []
        patch.setattr(timm, 'create_model', lambda name, *args, **kwargs: seen.append((name, constants.HF_HUB_OFFLINE)))
        create(model)
        assert seen == [(f'local-dir:{snapshot}', False)]
        patch.undo()
        endpoint(NOWHERE, patch)
        Source(model).check()
        found = Source(model).open().state_dict()
        args = argparse.Namespace(model=model)
        assert script_arguments(['--model', model], args) == ['--model', model, '--model', f'local-dir:{snapshot}']
    assert found.keys() == expected.keys() and all(torch.equal(found[key], expected[key]) for key in found)
    assert 'going on with what the cache holds' in capsys.readouterr().err
    hub.requests.clear()
    Source(model).check()
    assert ('HEAD', f'/{REPO}/resolve/main/config.json') in hub.requests and not capsys.readouterr().err
    assert script_arguments(['--model', model], args) == ['--model', model]
