"""Names of ours, or of timm's networks with packaged weights, that another package has: our weights are not its."""

from __future__ import annotations

import json

import pytest
from conftest import ROOT

STRANGER = """
import timm, torch
from timm.models import register_model
class Tiny(torch.nn.Module):
    pretrained_cfg = dict(input_size=(3, 8, 8), mean=(0, 0, 0), std=(1, 1, 1))
    num_classes = 2
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(192, 2)
    def forward(self, x):
        return self.fc(x.flatten(1))
def zerosnet20(pretrained=False, **kwargs):
    return Tiny()
def resnet10t(pretrained=False, **kwargs):
    return Tiny()
register_model(zerosnet20)
register_model(resnet10t)
"""
ASK = """
import contextlib, io, json, sys, warnings
import stranger
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter('always')
    import timm_zerosnet
from timm_zerosnet import cli, weights
from timm_zerosnet.model_names import create
result = dict(warnings=[str(w.message) for w in caught if 'timm_zerosnet' in str(w.message)])
for line in sys.argv[1:]:
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        code = cli.main(line.split())
    result[line] = [code, out.getvalue(), err.getvalue()]
result['weights'] = [weights.own_weights(), weights.backbone_weights(), sorted(weights.manifest())]
for name in ('zerosnet20.cifar10', 'resnet10t.cifar10'):
    for call in (create, weights.weights_overlay):
        try:
            call(name)
            result[f'{call.__name__} {name}'] = None
        except Exception as error:
            result[f'{call.__name__} {name}'] = f'{type(error).__name__}: {error}'
result['plain'] = type(create('zerosnet20', False)).__name__
print(json.dumps(result))
"""
REFUSED = (
    'list zerosnet20.cifar10',
    f'predict {ROOT}/tests/no.png --model zerosnet20.cifar10',
    f'predict {ROOT}/tests/no.png --model resnet10t.cifar10',
    'info zerosnet20',
    'publish zerosnet20.cifar10 --namespace me --dry-run',
    'robustness --model zerosnet20.cifar10 --data no.npz --out out',
)


@pytest.fixture(scope='module')
def said(tmp_path_factory, bare):
    folder = tmp_path_factory.mktemp('stranger')
    (folder / 'stranger.py').write_text(STRANGER, encoding='utf-8')
    commands = ('list --pretrained', 'list preresnet20', 'weights verify', *REFUSED)
    done = bare('-c', ASK, *commands, path=ROOT, cwd=folder)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_registration_says_it(said):
    (warning,) = said['warnings']
    assert 'zerosnet20 (of stranger)' in warning


def test_lists_leave_the_rows_out_and_say_so(said):
    for command in ('list --pretrained', 'list preresnet20'):
        code, out, err = said[command]
        assert code == 0 and 'preresnet20.cifar10' in out
        assert 'zerosnet20.' not in out and 'resnet10t' not in out
        assert err == (
            'timm-zerosnet: left out, because another package has the name: zerosnet20 (of stranger), resnet10t '
            '(of stranger)\n'
        )


def test_weights_are_neither_ours_nor_timms(said):
    own, backbones, rows = said['weights']
    assert {'zerosnet20.cifar10', 'resnet10t.cifar10'} <= set(rows)
    assert not [name for name in own + backbones if name.split('.')[0] in ('zerosnet20', 'resnet10t')]
    assert 'preresnet20.cifar10' in own and backbones == []


@pytest.mark.parametrize('command', REFUSED)
def test_names_with_our_tags_are_refused(command, said):
    code, out, err = said[command]
    assert (code, out) == (2, '') and err.count('\n') == 1
    assert 'of stranger' in err and 'name' in err


@pytest.mark.parametrize('name', ['zerosnet20.cifar10', 'resnet10t.cifar10'])
@pytest.mark.parametrize('call', ['create', 'weights_overlay'])
def test_our_file_is_not_put_into_its_network(call, name, said):
    assert f'is taken by a model of stranger, which the weights {name} do not fit' in said[f'{call} {name}']


def test_plain_name_is_the_other_packages_network(said):
    assert said['plain'] == 'Tiny'


def test_files_are_verified_all_the_same(said):
    code, out, err = said['weights verify']
    assert code == 0 and 'zerosnet20.cifar10: ok' in out.splitlines() and not err
