"""Publishing packaged weights: the folders, and what a Hub holds after uploads that work, break and are refused."""

import json
import logging
import os
import re
import stat

import huggingface_hub
import numpy as np
import pytest
import timm
import torch
import yaml
from amounts import slow_but
from hub_server import READ_TOKEN, RIGHT_TOKEN, HubServer
from huggingface_hub import HfApi, ModelCard
from places import ROOT

import timm_zerosnet
from timm_zerosnet import cli, weights
from timm_zerosnet._errors import WeightError
from timm_zerosnet.cifar import DATA_SETS
from timm_zerosnet.maintain import cards
from timm_zerosnet.maintain import publish as publishing
from timm_zerosnet.maintain.publish import PublishError, publish
from timm_zerosnet.maintain.release import install_command
from timm_zerosnet.robustness.data import load_labelled
from timm_zerosnet.weights import RECIPES, WEIGHTS
from timm_zerosnet.zerosnet import FAMILIES

ROWS = {name: weights.manifest()[name] for name in weights.own_weights()}
NAME = 'zerosnet20.cifar10'
REPO = f'org/{NAME}'
FILES = {'README.md', 'config.json', 'model.safetensors'}

every_weight = pytest.mark.parametrize('name', slow_but([name for name in ROWS if 'seed' not in name], ROWS))


@pytest.fixture
def hub(monkeypatch):
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_DISABLE_XET', True)
    monkeypatch.setenv('NO_PROXY', '127.0.0.1')
    monkeypatch.setattr('huggingface_hub.utils._http.time.sleep', lambda seconds: None)  # between its attempts
    with HubServer() as server:
        yield server


@pytest.fixture
def api(hub):
    return HfApi(hub.url, token=RIGHT_TOKEN)


def dry_run(out, *names):
    return cli.main(['publish', *names, '--namespace', 'org', '--dry-run', '--out', str(out)])


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    out = tmp_path_factory.mktemp('dry')
    assert dry_run(out) == 0
    return out / 'org'


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def packaged(name):
    return (WEIGHTS / f'{name}.safetensors').read_bytes()


# folders


def test_dry_run_writes_a_folder_for_each_weight(folders):
    assert {path.name for path in folders.iterdir()} == set(ROWS)
    assert all({path.name for path in folder.iterdir()} == FILES for folder in folders.iterdir())


def test_commands_of_contributing(tmp_path, monkeypatch, capsys):
    text = (ROOT / 'CONTRIBUTING.md').read_text(encoding='utf-8')
    dry, real = re.search(r'```console\n(timm-zerosnet publish .*?)```', text, re.DOTALL)[1].splitlines()
    monkeypatch.chdir(tmp_path)
    assert cli.main(dry.split()[1:]) == 0
    assert {path.name for path in (tmp_path / 'timm-zerosnet-hub' / 'ORG').iterdir()} == set(ROWS)
    assert dry == f'{real} --dry-run'


@every_weight
def test_weights_byte_for_byte(name, folders):
    assert (folders / name / 'model.safetensors').read_bytes() == packaged(name)


@every_weight
def test_config_describes_the_network(name, folders):
    config = json.loads((folders / name / 'config.json').read_text(encoding='utf-8'))
    cfg = timm.create_model(name).pretrained_cfg
    assert config['architecture'] == name.split('.')[0]
    assert config['num_classes'] == len(config['label_names']) == cfg['num_classes']
    assert config['label_names'] == list(cfg['label_names'])
    for key in ('mean', 'std', 'pool_size', 'crop_pct', 'input_size', 'interpolation', 'license', 'first_conv'):
        value = cfg[key]
        assert config['pretrained_cfg'][key] == (list(value) if isinstance(value, tuple) else value), key
    assert not {'file', 'url', 'hf_hub_id', 'source'} & config['pretrained_cfg'].keys()
    assert str(WEIGHTS.parent) not in json.dumps(config)


@every_weight
def test_card_says_what_the_manifest_says(name, folders):
    card, row = ModelCard.load(folders / name / 'README.md'), ROWS[name]
    data = f'uoft-cs/{row["data"]}'
    assert (card.data.license, card.data.library_name, card.data.datasets) == ('apache-2.0', 'timm', [data])
    assert card.data.pipeline_tag == 'image-classification' and card.data.model_name == name
    assert [result.metric_value for result in card.data.eval_results] == [row['top1'], row['top5']]
    (entry,) = card.data.to_dict()['model-index']
    assert entry['results'][0]['dataset']['type'] == data
    text = card.text
    recipe = (RECIPES / row['recipe']).read_text(encoding='utf-8').strip()
    for part in (row['command'], recipe, f'{row["parameters"]:,}', row['hardware'], install_command()):
        assert part in text, part
    for title in ('Install', 'Use', 'Architecture', 'Accuracy', 'Training', 'Intended use', 'Limits', 'Citation'):
        assert f'\n## {title}\n' in text
    assert 'The weight is that of the last epoch' in text
    assert '$' not in text and str(WEIGHTS.parent) not in text
    assert yaml.safe_load(card.data.to_yaml())['model-index'][0]['name'] == name


@pytest.mark.parametrize('name, paper', [('preresnet20.cifar10', '1603.05027'), ('lmresnet20.cifar10', '1710.10121')])
def test_card_of_a_baseline_cites_its_paper_beside_the_one_of_the_setting(name, paper):
    citation = str(cards.model_card(name, f'org/{name}')).split('## Citation')[1]
    assert f'https://arxiv.org/abs/{paper}' in citation and 'https://arxiv.org/abs/2206.13100' in citation


def test_card_says_what_the_deviations_are():
    """Of the images at hand: CIFAR-10's are those within an image, not those of all pixels."""
    pixels = load_labelled(ROOT / 'tests' / 'data' / 'cifar10_test_200.npz').images / 255
    within, whole = pixels.std((1, 2)).mean(0), pixels.std((0, 1, 2))
    std = DATA_SETS['cifar10']['std']
    assert np.allclose(within, std, atol=0.01) and (whole - std > 0.03).all()
    text = ' '.join(str(cards.model_card(NAME, REPO)).split())
    assert 'deviations within an image, averaged over the images' in text
    text = ' '.join(str(cards.model_card('zerosnet20.cifar100', 'org/zerosnet20.cifar100')).split())
    assert 'deviations of all pixels. ' in text


@pytest.mark.parametrize('field, value', [('top1', 12.34), ('hardware', 'abacus'), ('epochs', 7)])
def test_a_changed_manifest_changes_the_card(field, value, monkeypatch):
    before = str(cards.model_card(NAME, REPO))
    monkeypatch.setattr(weights, 'manifest', lambda: {NAME: {**ROWS[NAME], field: value}})
    after = str(cards.model_card(NAME, REPO))
    assert str(value) in after and after != before


@pytest.mark.parametrize('family', FAMILIES)
def test_every_family_has_its_formula(family):
    text = cards.describe_skip_connection(family)
    assert text.startswith('A block computes `x[n+1] = ') and 'zero-stable' in text
    if family == 'zerosnet':
        assert '`x[n+1] = 1/3 x[n] + 5/9 x[n-1] + 1/9 x[n-2] + 16/9 f(x[n])`' in text and 'order 2' in text


@pytest.mark.parametrize('umask', [0o022, 0o027])
def test_modes_are_those_of_the_umask_and_files_are_replaced_whole(umask, tmp_path):
    """safetensors writes files that nobody else may read."""
    target = tmp_path / REPO / 'model.safetensors'
    target.parent.mkdir(parents=True)
    target.write_bytes(b'old')
    target.chmod(0o644)
    before = os.umask(umask)
    try:
        with open(target, 'rb') as reader:
            assert dry_run(tmp_path, NAME) == 0
            assert reader.read() == b'old'  # whoever was reading still has the old file
    finally:
        os.umask(before)
    assert target.read_bytes() == packaged(NAME)
    assert {stat.S_IMODE(path.stat().st_mode) for path in target.parent.iterdir()} == {0o666 & ~umask}
    assert {path.name for path in target.parent.iterdir()} == FILES
    assert [path.name for path in target.parent.parent.iterdir()] == [NAME]


def test_a_failure_leaves_the_old_files(tmp_path, monkeypatch, capsys):
    folder = tmp_path / REPO
    folder.mkdir(parents=True)
    old = dict.fromkeys(FILES, b'old')
    for name in FILES:
        (folder / name).write_bytes(b'old')

    def fail(*_):
        raise OSError('no space left on device')

    monkeypatch.setattr(publishing, 'model_card', fail)
    assert dry_run(tmp_path, NAME) == 2
    assert 'no space left' in capsys.readouterr().err
    assert content(folder) == old and [path.name for path in folder.parent.iterdir()] == [NAME]


def test_a_damaged_weight_is_not_published(tmp_path, hub, api, monkeypatch):
    (tmp_path / 'weights').mkdir()
    (tmp_path / 'weights' / f'{NAME}.safetensors').write_bytes(packaged(NAME)[:-1])
    monkeypatch.setattr(weights, 'WEIGHTS', tmp_path / 'weights')
    with pytest.raises(WeightError, match='sha256'):
        list(publish([NAME], 'org', api=api))
    assert hub.repos == {} and hub.requests == []
    assert dry_run(tmp_path, NAME) == 2 and not (tmp_path / 'org').exists()


# uploads


def test_first_publication(hub, api, folders):
    (done,) = publish([NAME], 'org', api=api)
    assert str(done) == f'{hub.url}/{REPO}: created'
    repo = hub.repos[REPO]
    assert repo.changes == [FILES] and not repo.private
    assert {name: repo.files[name] for name in FILES} == content(folders / NAME)


def test_publishing_again_commits_what_changed_and_nothing_else(hub, api, monkeypatch):
    list(publish([NAME], 'org', api=api))
    hub.requests.clear()
    (done,) = publish([NAME], 'org', api=api)
    assert str(done) == f'{hub.url}/{REPO}: unchanged'
    assert hub.repos[REPO].changes == [FILES] and len(hub.repos[REPO].commits) == 2
    assert not [path for method, path in hub.requests if method == 'PUT' or '/commit/' in path]

    monkeypatch.setattr(publishing, 'model_card', lambda *names: f'{cards.model_card(*names)}\nA line more.\n')
    (done,) = publish([NAME], 'org', api=api)
    assert str(done) == f'{hub.url}/{REPO}: updated'
    assert hub.repos[REPO].changes == [FILES, {'README.md'}]
    assert hub.repos[REPO].files['README.md'].endswith(b'\nA line more.\n')


def test_another_weight_there_is_replaced_and_files_of_others_stay(hub, api):
    list(publish([NAME], 'org', api=api))
    hub.repos[REPO].files.update({'model.safetensors': b'another', 'notes.txt': b'by hand'})
    (done,) = publish([NAME], 'org', api=api)
    assert done.state == 'updated' and hub.repos[REPO].changes == [FILES, {'model.safetensors'}]
    assert hub.repos[REPO].files['model.safetensors'] == packaged(NAME)
    assert hub.repos[REPO].files['notes.txt'] == b'by hand'


def test_private(hub, api):
    list(publish([NAME], 'org', api=api, private=True))
    assert hub.repos[REPO].private
    list(publish([NAME], 'org', api=api, private=False))
    assert hub.repos[REPO].private and hub.repos[REPO].changes == [FILES]


# what breaks


@pytest.mark.parametrize('route, commits', [('create', 0), ('object', 0), ('commit', 0), ('answer', 1)])
def test_an_interrupted_upload_is_completed_by_the_next(route, commits, hub, api):
    hub.broken[route] = 99
    with pytest.raises(PublishError) as error:
        list(publish([NAME], 'org', api=api))
    message = str(error.value)
    assert hub.url in message and 'run the same command again' in message and '\n' not in message
    assert 'No file there is half written' in message and 'refused' not in message
    assert len(getattr(hub.repos.get(REPO), 'changes', [])) == commits
    assert route != 'object' or hub.objects == {}

    hub.broken.clear()
    (done,) = publish([NAME], 'org', api=api)
    # of a repository that the Hub has made before the connection broke
    assert done.state == ('unchanged' if commits else 'created' if route == 'create' else 'updated')
    assert hub.repos[REPO].changes == [FILES] and hub.repos[REPO].files['model.safetensors'] == packaged(NAME)


def test_what_came_before_the_failure_is_published(hub, api, monkeypatch):
    def write(name, repo_id, folder):
        folder.mkdir()
        (folder / 'config.json').write_text(name, encoding='utf-8')

    monkeypatch.setattr(publishing, 'select', list)
    monkeypatch.setattr(publishing, 'write_folder', write)
    names, done = ['a.cifar10', 'b.cifar10', 'c.cifar10'], []
    with pytest.raises(PublishError, match=r'^org/b\.cifar10 is not complete: '):
        for published in publish(names, 'org', api=api):
            done.append(published.url)
            hub.status['commit'] = 503
    assert done == [f'{hub.url}/org/a.cifar10']
    hub.status.clear()
    states = [published.state for published in publish(names, 'org', api=api)]
    assert states == ['unchanged', 'updated', 'created']
    assert all(hub.repos[f'org/{name}'].files['config.json'] == name.encode() for name in names)
    assert all(len(repo.changes) == 1 for repo in hub.repos.values())


def test_interrupted_by_the_keyboard(hub, api, monkeypatch, capsys):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(publishing, 'HfApi', lambda **kwargs: api)
    monkeypatch.setattr(api, 'create_commit', interrupt)
    assert cli.main(['publish', NAME, '--namespace', 'org']) == 130
    assert 'run the same command again' in capsys.readouterr().err
    monkeypatch.undo()
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_DISABLE_XET', True)
    (done,) = publish([NAME], 'org', api=api)
    assert done.state == 'updated' and hub.repos[REPO].changes == [FILES]


def test_no_hub_there():
    with HubServer() as server:
        url = server.url
    with pytest.raises(PublishError) as error:
        list(publish([NAME], 'org', api=HfApi(url, token=RIGHT_TOKEN)))
    assert f'{url} could not be reached' in str(error.value) and 'proxy, HF_ENDPOINT' in str(error.value)


def test_offline(hub, api, monkeypatch):
    """Offline mode would still ask the network."""
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_OFFLINE', True)
    huggingface_hub.close_session()
    try:
        with pytest.raises(PublishError, match='HF_HUB_OFFLINE is set'):
            list(publish([NAME], 'org', api=api))
    finally:
        huggingface_hub.close_session()
    assert hub.requests == []


# tokens


def refused(hub, token, caplog, capfd):
    """The message of a refusal, after looking for the token in everything that was said."""
    caplog.set_level(logging.DEBUG)
    huggingface_hub.logging.set_verbosity_debug()
    huggingface_hub.logging.get_logger('huggingface_hub').propagate = True
    try:
        with pytest.raises(PublishError) as error:
            list(publish([NAME], 'org', api=HfApi(hub.url, token=token)))
    finally:
        huggingface_hub.logging.set_verbosity_warning()
        huggingface_hub.logging.get_logger('huggingface_hub').propagate = False
    said = ''.join((str(error.value), caplog.text, *capfd.readouterr()))
    assert not token or token not in said
    assert f'{hub.url}/settings/tokens' in str(error.value) and '\n' not in str(error.value)
    return str(error.value)


def test_refused_token(hub, caplog, capfd):
    """A refused token would look like a missing repo."""
    message = refused(hub, 'hf_expiredexpired', caplog, capfd)
    assert 'the Hub refused the token: it is wrong, expired or revoked' in message
    assert hub.repos == {}


@pytest.mark.parametrize('exists', [False, True])
def test_token_that_may_only_read(exists, hub, api, caplog, capfd):
    if exists:
        list(publish([NAME], 'org', api=api))
        hub.repos[REPO].files['README.md'] = b'older'
    message = refused(hub, READ_TOKEN, caplog, capfd)
    assert 'the token lacks the right to write to org' in message and 'refused' not in message
    assert (REPO in hub.repos) == exists and all(len(repo.changes) == 1 for repo in hub.repos.values())


@pytest.mark.parametrize('token', ['hf_two parts', 'hf_\x07bell', 'hf_ümlaut'])
def test_token_that_is_none(token, hub, caplog, capfd):
    assert 'the Hub token is damaged' in refused(hub, token, caplog, capfd)
    assert hub.requests == []


def test_no_token(hub, caplog, capfd, monkeypatch):
    monkeypatch.setattr(publishing, 'get_token', lambda: None)
    assert 'there is no Hub token' in refused(hub, None, caplog, capfd)
    assert hub.requests == []


# the command line


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['zerosnet20.cifr10', '--namespace', 'org'], "'zerosnet20.cifr10'; nearest: .*zerosnet20.cifar10"),
        ([NAME, '--namespace', '../org'], "single - and _, got '../org'"),
        ([NAME, '--namespace', ''], "single - and _, got ''"),
        ([NAME, '--namespace', 'a.git', '--dry-run'], "single - and _, got 'a.git'"),
        ([NAME, '--namespace', 'a-', '--dry-run'], "single - and _, got 'a-'"),
        ([NAME, '--namespace', 'a b', '--dry-run'], "single - and _, got 'a b'"),
        ([NAME, '--namespace', 'org', '--out', 'folder'], '--out is the folder of --dry-run'),
    ],
)
def test_wrong_arguments(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(publishing, 'HfApi', None)  # nothing is asked
    assert cli.main(['publish', *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count('\n') == 1 and re.search(message, error)
    assert list(tmp_path.iterdir()) == []


def test_command_says_what_it_did(hub, api, monkeypatch, capsys):
    monkeypatch.setattr(publishing, 'HfApi', lambda **kwargs: api)
    assert cli.main(['publish', NAME, '--namespace', 'org', '--private']) == 0
    assert capsys.readouterr().out.splitlines() == [f'{hub.url}/{REPO}: created']
    assert hub.repos[REPO].private
    assert cli.main(['publish', NAME, '--namespace', 'org']) == 0
    assert capsys.readouterr().out.splitlines() == [f'{hub.url}/{REPO}: unchanged']


@every_weight
def test_local_dir_gives_the_logits_of_the_packaged_file(name, folders):
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    expected = timm.create_model(name, pretrained=True).eval()
    found = timm.create_model(f'local-dir:{folders / name}', pretrained=True).eval()
    with torch.inference_mode():
        assert torch.equal(found(x), expected(x))
    assert isinstance(found, timm_zerosnet.MultistepResNet)
