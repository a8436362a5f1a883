"""Published weights as their users load them: from a Hub, from a folder, with transformers, and as the card says.

Everything runs in an environment where the wheel is installed, and nothing of ours is imported.
"""

import json
import os
import re
import sys

import pytest
import yaml
from conftest import execute, succeed
from hub_server import RIGHT_TOKEN, HubServer
from huggingface_hub import HfApi, ModelCard
from places import STAND_IN

from timm_zerosnet import weights
from timm_zerosnet.maintain import publish as publishing
from timm_zerosnet.maintain.release import install_command
from timm_zerosnet.weights import RECIPES

ROWS = {name: weights.manifest()[name] for name in weights.own_weights()}
NAME = 'zerosnet20.cifar10'
REPO = f'org/{NAME}'
EXPIRED = 'hf_expiredexpired'


@pytest.fixture(scope='module')
def hub():
    with HubServer() as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr('huggingface_hub.constants.HF_HUB_DISABLE_XET', True)
        for done in publishing.publish([], 'org', api=HfApi(server.url, token=RIGHT_TOKEN)):
            assert done.state == 'created'
        yield server


@pytest.fixture(scope='module')
def settings(hub, tmp_path_factory):
    """Environment variables: this Hub, and a home of its own."""
    home = str(tmp_path_factory.mktemp('home'))
    here = {'HF_ENDPOINT': hub.url, 'HF_HOME': home, 'HOME': home, 'NO_PROXY': '127.0.0.1'}
    return {**here, 'HF_HUB_DISABLE_XET': '1', 'HF_HUB_OFFLINE': '0', 'HF_TOKEN': ''}


LOADS = """
import timm, torch
repo, name = sys.argv[1:]
x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
def create(source, **kwargs):
    return timm.create_model(source, pretrained=True, **kwargs).eval()
hub = 'hf-hub:' + repo
with torch.inference_mode():
    result = {
        'logits': torch.equal(create(hub)(x), create(name)(x)),
        'classes': list(create(hub, num_classes=7)(x).shape),
        'features': torch.equal(
            create(hub, num_classes=7).forward_features(x), create(name).forward_features(x)
        ),
        'maps': all(map(torch.equal, create(hub, features_only=True)(x), create(name, features_only=True)(x))),
        'levels': len(create(hub, features_only=True)(x)),
        'grey': torch.equal(create(hub, in_chans=1)(x[:, :1]), create(name, in_chans=1)(x[:, :1])),
        'cfg': create(hub).pretrained_cfg['hf_hub_id'],
    }
"""


@pytest.mark.slow
def test_hub_names_load_and_once_cached_need_no_network(hub, settings, installed):
    """Offline mode would still ask the network."""
    expected = dict(logits=True, classes=[2, 7], features=True, maps=True, levels=4, grey=True, cfg=REPO)
    code = f'import sys; sys.argv[1:] = {[REPO, NAME]}\n{LOADS}'
    assert installed.result(code, **settings) == expected
    assert ('HEAD', f'/{REPO}/resolve/main/model.safetensors') in hub.requests
    hub.requests.clear()
    assert installed.result(code, **{**settings, 'HF_HUB_OFFLINE': '1'}) == expected
    assert hub.requests == []


@pytest.mark.slow
def test_uncached_and_offline(hub, settings, installed, tmp_path):
    """Offline, a name that is not in the cache would give a page of tracebacks."""
    hub.requests.clear()
    code = f"import timm; timm.create_model('hf-hub:{REPO}', pretrained=True)"
    offline = {**settings, 'HF_HOME': str(tmp_path), 'HF_HUB_OFFLINE': '1'}
    done = execute([installed.python, '-c', code], installed.empty, **offline)
    assert done.returncode == 1
    # timm asks for the config before it knows whose model it is: the words are huggingface_hub's
    assert 'cannot find the requested files in the local cache' in done.stderr.strip().splitlines()[-1]
    assert 'HF_HUB_OFFLINE' in done.stderr
    assert hub.requests == []


TOKENS = f"""
import timm
model = timm.create_model('{NAME}', pretrained=True)
print('packaged', model.num_classes)
timm.create_model('hf-hub:{REPO}', pretrained=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize('where', ['HF_TOKEN', 'file'])
def test_expired_token(where, hub, settings, installed, tmp_path):
    """An expired token: what needs no Hub works, the rest says what is wrong, and nobody shows the token."""
    (tmp_path / 'token').write_text(EXPIRED, encoding='utf-8')
    environment = {**settings, 'HF_HOME': str(tmp_path), 'HF_HUB_VERBOSITY': 'debug'}
    if where == 'HF_TOKEN':
        environment['HF_TOKEN'] = f'{EXPIRED}2'
    hub.requests.clear()
    loading = execute([installed.python, '-c', TOKENS], installed.empty, **environment)
    assert loading.returncode == 1 and loading.stdout == 'packaged 10\n'
    assert {path for _, path in hub.requests if '/resolve/' in path} == {f'/{REPO}/resolve/main/config.json'}
    assert 'Invalid credentials in Authorization header' in loading.stderr.strip().splitlines()[-1]

    changes = list(hub.repos[REPO].changes)
    command = [installed.python, '-m', 'timm_zerosnet.cli', 'publish', NAME, '--namespace', 'org']
    sending = execute(command, installed.empty, **environment)
    message = sending.stderr.strip().splitlines()[-1]
    assert sending.returncode == 2 and message.startswith('timm-zerosnet: the Hub refused the token')
    assert ('HF_TOKEN, which is set and comes first' in message) == (where == 'HF_TOKEN')
    assert hub.repos[REPO].changes == changes
    assert EXPIRED not in loading.stdout + loading.stderr + sending.stdout + sending.stderr


TRANSFORMERS = """
import numpy as np, timm, torch
from PIL import Image
from transformers import AutoModelForImageClassification, pipeline

folder, name = sys.argv[1:]
ours = timm.create_model(name, pretrained=True).eval()
names = list(ours.pretrained_cfg['label_names'])
pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(ours))
model = AutoModelForImageClassification.from_pretrained(folder).eval()
classify = pipeline('image-classification', model=folder)
with torch.inference_mode():
    x = transform(Image.fromarray(pixels))[None]
    expected, found = ours(x), model(x).logits
scores = {entry['label']: entry['score'] for entry in classify(Image.fromarray(pixels), top_k=len(names))}
probabilities = dict(zip(names, expected.softmax(1)[0].tolist()))
result = {
    'labels': [model.config.id2label[i] for i in range(len(names))] == names,
    'dtypes': sorted({str(parameter.dtype) for parameter in model.parameters()}),
    'logits': torch.equal(found, expected),
    'gap': max(abs(scores[label] - probabilities[label]) for label in names),
}
"""


@pytest.mark.slow
def test_transformers_take_the_dry_run_folder(settings, installed, tmp_path):
    offline = {**settings, 'HF_HUB_OFFLINE': '1'}
    command = [installed.python, '-m', 'timm_zerosnet.cli', 'publish', '--dry-run', '--namespace', 'org', NAME]
    succeed([*command, '--out', tmp_path], installed.empty, **offline)
    code = f'import sys; sys.argv[1:] = {[str(tmp_path / REPO), NAME]}\n{TRANSFORMERS}'
    result = installed.result(code, **offline)
    assert result.pop('gap') < 1e-6
    assert result == {'labels': True, 'dtypes': ['torch.float32'], 'logits': True}


BLOCK = re.compile(r'```(\w*)\n(.*?)```', re.DOTALL)
# timm's own train.py takes hours; this one knows its arguments, too
STUB = f"""
import json, runpy, sys
parser = runpy.run_path({str(STAND_IN / 'train.py')!r})['parser']
if __name__ == '__main__':
    print(json.dumps(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_block_of_the_cards_runs(hub, settings, distributions, new_environment, tmp_path):
    """The first example of a card would not run: the console blocks in a new environment, then the Python blocks."""
    environment = new_environment()
    cards = {name: ModelCard(hub.repos[f'org/{name}'].files['README.md'].decode()).text for name in ROWS}
    blocks = {name: BLOCK.findall(text) for name, text in cards.items()}
    assert all(
        sorted(language for language, _ in found) == ['console'] * 2 + ['python'] * 4 + ['yaml']
        for found in blocks.values()
    )
    scripts = tmp_path / 'scripts'
    scripts.mkdir()
    (scripts / 'train.py').write_text(STUB, encoding='utf-8')
    search = os.pathsep.join((str(environment.python.parent), os.path.dirname(sys.executable), os.environ['PATH']))
    pip = dict(NO_INDEX='1', NO_DEPS='1', IGNORE_INSTALLED='1', PYTHON=str(environment.python))
    pip['FIND_LINKS'] = str(distributions.wheel_of_sdist.parent)
    shell = {**settings, **{f'PIP_{key}': value for key, value in pip.items()}}
    shell.update(PATH=search, TIMM_SCRIPTS=str(scripts))
    assert not list(environment.site.glob('timm_zerosnet*'))
    trained = set()
    for name, found in blocks.items():
        install, train = (block for language, block in found if language == 'console')
        if name == next(iter(ROWS)):
            # before there is a public address it is a command for a checkout
            succeed(['bash', '-ec', install], RECIPES.parent, PIP_NO_BUILD_ISOLATION='0', **shell)
            assert list(environment.site.glob('timm_zerosnet-*.dist-info'))
        assert install == f'{install_command()}\n'
        (model,) = re.findall(r'--model (\S+)', train)
        assert model.split('.')[0] == name.split('_seed')[0].split('.')[0]
        kind = re.sub(r' --(model|seed|epochs) \S+|cifar100?', '', train)
        if kind not in trained:  # of blocks that differ in the network, the data and the numbers alone, the first runs
            trained.add(kind)
            arguments = json.loads(succeed(['bash', '-ec', train], environment.empty, **shell).stdout.splitlines()[-1])
            assert arguments[arguments.index('--model') + 1].split('.')[0] == model.split('.')[0]
        (recipe,) = (block for language, block in found if language == 'yaml')
        assert yaml.safe_load(recipe) == yaml.safe_load((RECIPES / ROWS[name]['recipe']).read_text(encoding='utf-8'))
    python = {name: [block for language, block in found if language == 'python'] for name, found in blocks.items()}
    # a card of each data set runs; the blocks of the others are the same
    whole = {row['data']: name for name, row in ROWS.items()}.values()
    texts = {tuple(block.replace(name, 'NAME') for block in own) for name, own in python.items()}
    assert len(texts) == 1 and len(whole) >= 2
    code = '\n'.join(
        f'print({(name, i)!r}, flush=True)\nexec({block!r}, {{}})'
        for name in whole
        for i, block in enumerate(python[name])
    )
    done = environment.run('-c', code, **settings)
    assert done.stdout.count('[{') == len(whole)  # the pipeline's answers
    assert all(f'/org/{name}/resolve/main/model.safetensors' in {path for _, path in hub.requests} for name in whole)
