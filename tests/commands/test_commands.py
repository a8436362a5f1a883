"""The commands about methods, models and weights: what they print is what is."""

import fnmatch
import json
import math
import re

import numpy as np
import pytest
import timm
import torch
from amounts import slow
from golden_weights import MODELS, load
from kinds import depth, slow_but
from PIL import Image
from safetensors.torch import load_file
from torch.utils.flop_counter import FlopCounterMode

from timm_zerosnet import cli, weights
from timm_zerosnet._files import sha256
from timm_zerosnet.cifar import CIFAR10_LABELS
from timm_zerosnet.commands import list_ as listing
from timm_zerosnet.commands import stability as stability_command
from timm_zerosnet.costs import cost
from timm_zerosnet.methods import METHODS, lm, momentum, parse_method, zerosnet
from timm_zerosnet.multistep import MultistepMethod
from timm_zerosnet.robustness.models import Source
from timm_zerosnet.zerosnet import default_cfgs


@pytest.fixture
def command(capsys):
    def run(*words, code=0):
        assert cli.main([str(word) for word in words]) == code
        found = capsys.readouterr()
        run.notes = found.err
        return found.out

    return run


# stability


@pytest.mark.parametrize('name', [*METHODS, 'lm(1.05)', 'zerosnet(-9/5)', 'zerosnet(1/3)', 'optimal(5)'])
def test_stability_prints_what_the_method_is(name, command):
    found = json.loads(command('stability', name, '--json'))
    method = MultistepMethod(found['a'], found['b'])
    assert (found['order'], found['zero_stable']) == (method.order, method.is_zero_stable)
    assert found['verdict'] == method.verdict and found['error_constant'] in (None, str(method.error_constant))
    roots = np.array([complex(root['re'], root['im']) for root in found['roots']])
    assert np.abs(np.polyval([1, *(-float(c) for c in method.a)], roots)).max() < 1e-9
    text = command('stability', name)
    assert method.formula in text and method.verdict in text


def test_stability_of_coefficients(command):
    """Also negative fractions, which look like options."""
    assert 'ab2' not in command('stability', '--a', '1', '--b', '3/2', '-1/2')
    found = json.loads(command('stability', '--a', '1', '--b', '3/2', '-1/2', '--json'))
    assert (found['order'], found['error_constant'], found['stability_interval']) == (2, '5/12', [-1, 0])
    assert json.loads(command('stability', '--a', '1,0', '--b=3/2,-1/2', '--json')) == found
    assert json.loads(command('stability', '--a', '1', '--b', '1.5', '-5e-1', '--json')) == found
    assert 'x[n+1] = -x[n] + 2 x[n-1] + f(x[n])' in command('stability', '--a', '-1,2', '--b', '1')


@pytest.mark.parametrize(
    'method, expected',
    [
        (METHODS['zerosnet-opt'], 'x[n+1] = 1/3 x[n] + 5/9 x[n-1] + 1/9 x[n-2] + 16/9 f(x[n])'),
        (METHODS['midpoint'], 'x[n+1] = x[n-1] + 2 f(x[n])'),
        (METHODS['ab2'], 'x[n+1] = x[n] + 3/2 f(x[n]) - 1/2 f(x[n-1])'),
        (MultistepMethod([-1, 2], [1]), 'x[n+1] = -x[n] + 2 x[n-1] + f(x[n])'),
    ],
)
def test_formula(method, expected):
    assert method.formula == expected


@pytest.mark.parametrize(
    'method, expected',
    [
        (METHODS['euler'], ['1']),
        (METHODS['zerosnet-opt'], ['1', '-0.333333 (double)']),
        (zerosnet('1/3'), ['1 (triple)']),
        (METHODS['ab4'], ['1', '0 (triple)']),
        (METHODS['all-ones'], ['1.83929', '-0.419643 ± 0.606291i (modulus 0.737353)']),
    ],
)
def test_roots_in_words(method, expected):
    assert stability_command.root_texts(method) == expected


@pytest.mark.parametrize(
    'method, words',
    [
        (METHODS['midpoint'], 'weakly stable'),
        (METHODS['all-ones'], 'grows 1.839-fold from block to block'),
        (lm(2), 'grows with the number of blocks'),
        (METHODS['zerosnet-opt'], 'each block leaves 0.3333 of it in the long run'),
        (MultistepMethod(['1/2'], [1]), 'stays bounded'),
        (parse_method('zerosnet(0.33333333333)'), 'grows with the number of blocks'),
    ],
)
def test_meaning(method, words):
    assert words in stability_command.meaning(method)


@pytest.mark.parametrize('suffix, start', [('png', b'\x89PNG'), slow('svg', b'<?xml'), slow('pdf', b'%PDF')])
def test_plot(suffix, start, command, tmp_path):
    path = tmp_path / f'plot.{suffix}'
    path.write_text('old')
    assert str(path) in command('stability', 'ab3', '--plot', path)
    assert path.read_bytes().startswith(start) and path.stat().st_mode & 0o044 and len(list(tmp_path.iterdir())) == 1


@pytest.mark.slow
@pytest.mark.parametrize('name', ['midpoint', 'zerosnet(1/3)', 'optimal(20)', 'momentum(0.999999)'])
def test_plot_of_odd_methods(name, command, tmp_path):
    command('stability', name, '--plot', tmp_path / 'plot.png')
    pixels = np.asarray(Image.open(tmp_path / 'plot.png').convert('RGB'))
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20


# list


@pytest.mark.parametrize('pattern', ['*20*', '*18', slow('*net1?0*')])
def test_list_names_every_network(pattern, command):
    rows = json.loads(command('list', pattern, '--json'))
    assert {row['model'] for row in rows} == set(fnmatch.filter([*default_cfgs, 'resnet10t'], pattern))
    assert {row['input_size'][-1] for row in rows if not row['tag']} <= {224}
    for row in rows:
        weight = weights.manifest().get(f'{row["model"]}.{row["tag"]}')
        assert row['top1'] == (weight and weight['top1'])
        if weight:
            assert row['parameters'] == weight['parameters']


@pytest.mark.parametrize(
    'name', ['zerosnet20', 'lmresnet56', *map(slow, ('zerosnet110_tra', 'preresnet164', 'zerosnet50'))]
)
def test_cost_is_that_of_the_whole_network(name):
    net = timm.create_model(name, num_classes=7).eval().requires_grad_(False)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(torch.zeros(1, *net.pretrained_cfg['input_size']))
    found = cost(name, 7)
    assert found.macs == counter.get_total_flops() / 2
    assert found.parameters == sum(parameter.numel() for parameter in net.parameters())


def test_macs_of_preresnet20_by_hand():
    """He's counting: 41 million for a network of depth 20 on 32 pixels; projections included, batch norm not."""
    stage = [16 * 16 * 9 * 32**2, 32 * 32 * 9 * 16**2, 64 * 64 * 9 * 8**2]
    narrow = [16 * 32 * 9 * 16**2, 32 * 64 * 9 * 8**2]
    projections = 16 * 32 * 16**2 + 32 * 64 * 8**2
    expected = 3 * 16 * 9 * 32**2 + 6 * stage[0] + 5 * sum(stage[1:]) + sum(narrow) + projections + 640
    assert cost('preresnet20', 10).macs == expected


@pytest.mark.parametrize(
    'patterns, expected',
    [
        (['zerosnet20'], ['zerosnet20.cifar10', 'zerosnet20.cifar100']),
        (['*20.cifar100', 'lmresnet18'], {'lmresnet18', 'zerosnet20.cifar100', 'lmresnet20.cifar100'}),
        (['resnet10t'], {'resnet10t.cifar10'}),
        (['*net10t.cifar10', 'zerosnet32'], {'resnet10t.cifar10', 'zerosnet32.cifar10'}),
        (['zerosnet*_tra.cifar10'], {'zerosnet20_tra.cifar10', 'zerosnet1298_tra.cifar10'}),
    ],
)
def test_list_takes_filters_of_timm(patterns, expected, command):
    found = listing.find(patterns)
    own = timm.list_models(patterns, module='zerosnet', include_tags=True)
    assert set(found) >= set(expected) and set(found) - {'resnet10t.cifar10'} == set(own)


def test_list_of_weights(command):
    text = command('list', '--pretrained')
    shown = [line.split()[0] for line in text.splitlines()[1:]]
    assert shown[:-1] == timm.list_models(weights.own_weights(), include_tags=True)
    assert set(shown) == set(weights.manifest()) and shown[-1] == 'resnet10t.cifar10'
    row = weights.manifest()['zerosnet20.cifar10']
    line = ['zerosnet20.cifar10', '277,402', '41.3', '3x32x32', f'{row["top1"]:.2f}', f'{row["top5"]:.2f}']
    assert line in map(str.split, text.splitlines())


# info


def test_info_of_a_weight(command):
    found = json.loads(command('info', 'zerosnet20', '--json'))
    row = weights.manifest()['zerosnet20.cifar10']
    assert {key: found['weights'][key] for key in row} == row
    assert found['label_names'] == list(CIFAR10_LABELS) and found['method']['name'] == 'zerosnet-opt'
    assert found['weights']['recipe_arguments']['epochs'] == row['epochs'] and found['blocks'] is None
    text = command('info', 'zerosnet20')
    assert row['sha256'] in text and row['command'] in text and 'zero-stable; consistent, order 2' in text


def test_info_has_the_recipe_as_it_was_run(command):
    for name, key, value in (('preresnet110', 'epochs', 30), ('lmresnet20.cifar10_seed1', 'seed', 1)):
        found = json.loads(command('info', name, '--json'))['weights']
        assert found['recipe_arguments'][key] == found[key] == value
    found = json.loads(command('info', 'zerosnet32.cifar10', '--json'))['weights']['recipe_arguments']
    assert (found['amp'], found['amp_dtype'], found['opt'], found['epochs']) == (True, 'bfloat16', 'muon', 80)
    assert 'log_interval' in found and 'data_dir' not in found


def test_info_of_a_trained_lambda(command, tmp_path):
    lambdas = [-1.8, -1.0, 0.3, 0.5, -0.5, 2.0, -3.0]
    net = timm.create_model('zerosnet20_tra')
    steps = [module for name, module in net.named_modules() if name.endswith('step') and hasattr(module, 'mu')]
    for step, value in zip(steps, lambdas, strict=True):
        step.mu.data.fill_(1 / value)
    torch.save({'state_dict': net.state_dict()}, tmp_path / 'mine.pth')
    blocks = json.loads(command('info', 'zerosnet20_tra', '--checkpoint', tmp_path / 'mine.pth', '--json'))['blocks']
    assert [row['block'] for row in blocks][:2] == ['stages.0.blocks.2', 'stages.1.blocks.0']
    assert [row['lambda'] for row in blocks] == pytest.approx(lambdas, rel=1e-6)
    assert [row['zero_stable'] for row in blocks] == [value <= -1 or value > 1 / 3 for value in lambdas]
    assert blocks[0]['parasitic_radius'] == pytest.approx(1 / 3, abs=1e-3)
    text = command('info', 'zerosnet20_tra', '--checkpoint', tmp_path / 'mine.pth')
    assert 'lambda of their own: 2 of 7 are not zero-stable' in text and text.count(' NO\n') == 2


def test_info_of_a_constrained_lambda(command, tmp_path):
    net = timm.create_model('zerosnet20_tra')
    for name, parameter in net.named_parameters():
        if name.endswith('mu'):
            parameter.data.fill_(-2)
    torch.save(net.state_dict(), tmp_path / 'mine.pth')
    words = ['info', 'zerosnet20_tra', '--checkpoint', tmp_path / 'mine.pth', '--json', '--model-kwargs']
    blocks = json.loads(command(*words, 'constrain_mu=True'))['blocks']
    assert {row['mu'] for row in blocks} == {-1} and all(row['zero_stable'] for row in blocks)


def test_info_of_a_learned_k(command):
    found = json.loads(command('info', 'lmresnet20', '--json'))
    state = load_file(weights.weight_file('lmresnet20.cifar10'))
    assert [row['k'] for row in found['blocks']] == pytest.approx(
        [float(v) for n, v in sorted(state.items()) if n.endswith('.k')]
    )
    for row in found['blocks']:
        assert row['zero_stable'] and row['parasitic_radius'] == pytest.approx(abs(1 - row['k']))


def test_info_without_weights(command):
    assert 'none: every value is the initial one' in command('info', 'zerosnet18')
    found = json.loads(command('info', 'multistep_resnet20', '--model-kwargs', 'method=ab3', '--json'))
    assert found['weights'] is None and found['method']['order'] == 3


SOME = sorted(name for name in default_cfgs if '1298' not in name and '650' not in name)[::5]


@pytest.mark.parametrize('name', slow_but([name for name in SOME if depth(name) < 30], SOME))
def test_info_of_every_kind(name, command):
    assert json.loads(command('info', name, '--json'))['name'].split('.')[0] == name
    assert command('info', name)


# convert


@pytest.mark.parametrize(
    'case, prefix',
    slow_but(
        [('imagenet-zerosnet18_in-coe_given', ''), ('lm-20-scalar_1.0', ''), ('cifar-ZeroSNet20_Opt', 'module.')],
        [*((case, '') for case in MODELS), ('cifar-ZeroSNet20_Opt', 'module.')],
    ),
)
def test_converted_checkpoint_loads_strictly(case, prefix, command, tmp_path):
    """A script that knows nothing of timm's filters gets the original's logits."""
    original, x, logits = load(case)
    torch.save({'state_dict': {prefix + key: value for key, value in original.items()}}, tmp_path / 'theirs.pth')
    text = command('convert', tmp_path / 'theirs.pth', tmp_path / 'ours.safetensors')
    assert f': {MODELS[case]}, {logits.shape[1]} classes, 3 channels' in text
    net = timm.create_model(MODELS[case], num_classes=logits.shape[1]).eval()
    net.load_state_dict(load_file(tmp_path / 'ours.safetensors'), strict=True)
    with torch.inference_mode():
        assert (net(x.float()).double() - logits).abs().max() <= 1e-5 * logits.abs().max()
    assert {path.name for path in tmp_path.iterdir()} == {'theirs.pth', 'ours.safetensors'}
    assert sha256(tmp_path / 'ours.safetensors') in text


def test_convert_takes_our_own_with_other_classes_and_channels(command, tmp_path):
    net = timm.create_model('zerosnet20_tra', num_classes=3, in_chans=1)
    torch.save({'state_dict': net.state_dict(), 'epoch': 1}, tmp_path / 'ours.pth.tar')
    text = command('convert', tmp_path / 'ours.pth.tar', tmp_path / 'out.safetensors')
    assert 'zerosnet20_tra, 3 classes, 1 channels' in text
    assert all(
        torch.equal(value, net.state_dict()[key]) for key, value in load_file(tmp_path / 'out.safetensors').items()
    )


@pytest.mark.parametrize('entry, average', [('state_dict', 'state_dict_ema'), slow('model', 'model_ema')])
def test_convert_takes_the_weights_unless_the_average_is_asked_for(entry, average, command, tmp_path):
    states = [timm.create_model('zerosnet20').state_dict() for _ in range(2)]
    states = [{key: value + i for key, value in state.items()} for i, state in enumerate(states)]
    torch.save({entry: states[0], average: states[1]}, tmp_path / 'run.pth.tar')
    for wanted, options in ((0, []), (0, ['--average', 'raw']), (1, ['--average', 'ema'])):
        command('convert', tmp_path / 'run.pth.tar', tmp_path / 'out.safetensors', *options)
        found = load_file(tmp_path / 'out.safetensors')
        assert all(torch.equal(value, states[wanted][key]) for key, value in found.items())
        said = 'also holds an average of the weights: --average ema' in command.__dict__['notes']
        assert said == (not options)
    torch.save({entry: states[0], average: None}, tmp_path / 'none.pth.tar')
    line = [*map(str, ('convert', tmp_path / 'none.pth.tar', tmp_path / 'out.safetensors', '--average', 'ema'))]
    assert cli.main(line) == 2


@pytest.mark.parametrize('entries', ['step.mu', slow('conv1.weight'), slow('norm1')])
def test_convert_refuses_a_parameter_of_several_blocks(entries, command, tmp_path):
    net = timm.create_model('zerosnet20_tra')
    first, second = net.stages[1].blocks[1:]
    if entries == 'norm1':
        second.norm1 = first.norm1
    else:
        layer, _, name = entries.partition('.')
        setattr(getattr(second, layer), name, getattr(getattr(first, layer), name))
    tied = [f'stages.1.blocks.{i}.{entries}' for i in (1, 2)]
    for content in (net.state_dict(), {'state_dict': {f'module.{key}': x for key, x in net.state_dict().items()}}):
        torch.save(content, tmp_path / 'tied.pth')
        for name in ([], ['--model', 'zerosnet20_tra']):
            command('convert', tmp_path / 'tied.pth', tmp_path / 'out.safetensors', *name, code=2)
            assert re.search(rf'tied.pth: {tied[0]}\S* and {tied[1]}\S*.* are tied', command.__dict__['notes'])
            assert not (tmp_path / 'out.safetensors').exists()
    torch.save({key: value.clone() for key, value in net.state_dict().items()}, tmp_path / 'copies.pth')  # as advised
    command('convert', tmp_path / 'copies.pth', tmp_path / 'out.safetensors')
    found = load_file(tmp_path / 'out.safetensors')
    assert all(torch.equal(found[key], value) for key, value in net.state_dict().items())


def test_entries_of_one_buffer_are_not_tied(command, tmp_path):
    """As flattened parameters are: one storage, no element of which is in two entries."""
    net = timm.create_model('zerosnet20')
    buffer, start, views = torch.cat([value.flatten().float() for value in net.state_dict().values()]), 0, {}
    for key, value in net.state_dict().items():
        views[key] = buffer[start : start + value.numel()].view(value.shape)
        start += value.numel()
    torch.save(views, tmp_path / 'flat.pth')
    command('convert', tmp_path / 'flat.pth', tmp_path / 'out.safetensors')


def test_convert_believes_a_checkpoint_that_says_what_it_is_of(command, tmp_path):
    net = timm.create_model('multistep_resnet20', method='zerosnet(-3)')
    torch.save({'arch': 'multistep_resnet20', 'state_dict': net.state_dict()}, tmp_path / 'run.pth.tar')
    words = ['convert', tmp_path / 'run.pth.tar', tmp_path / 'out.safetensors']
    assert ': multistep_resnet20, ' in command(*words, '--model-kwargs', 'method=zerosnet(-3)')
    assert ': zerosnet20, ' in command(*words, '--model', 'zerosnet20')  # who names one has to know


@pytest.mark.parametrize('prefix', ['_orig_mod.module.', slow('module.module.')])
def test_prefixes_in_every_command(prefix, files, command, tmp_path):
    net = timm.create_model('zerosnet20.cifar100', pretrained=True)
    for name, lead in (('plain.pth', ''), ('wrapped.pth', prefix)):
        content = {lead + key: value for key, value in net.state_dict().items()}
        torch.save({'state_dict': content}, tmp_path / name)
    plain, wrapped = (['--checkpoint', tmp_path / name] for name in ('plain.pth', 'wrapped.pth'))
    seen = [
        command('predict', *files, '--model', 'zerosnet20.cifar100', '--json', *which) for which in (plain, wrapped)
    ]
    assert seen[0] == seen[1]
    for name in ('zerosnet20', 'zerosnet20.cifar100'):  # the number of classes is that of the checkpoint
        found = [json.loads(command('info', name, '--json', *which)) for which in (plain, wrapped)]
        assert found[0]['parameters'] == found[1]['parameters'] == 283_252 and found[1]['classes'] == 100
    command('convert', tmp_path / 'wrapped.pth', tmp_path / 'out.safetensors')
    stored = load_file(tmp_path / 'out.safetensors')
    assert all(torch.equal(stored[key], value) for key, value in net.state_dict().items())


def test_prefixes_of_a_network_of_timms(tmp_path):
    net = timm.create_model('resnet10t', num_classes=7)
    wrapped = {f'_orig_mod.module.{key}': value for key, value in net.state_dict().items()}
    torch.save({'state_dict': wrapped}, tmp_path / 'wrapped.pth')
    found = Source('resnet10t', checkpoint=tmp_path / 'wrapped.pth').open()
    assert found.num_classes == 7
    assert all(torch.equal(value, net.state_dict()[key]) for key, value in found.state_dict().items())


def test_original_of_another_class_count(command, tmp_path):
    """The number of classes is the checkpoint's, as with one of ours."""
    original = load('cifar-ZeroSNet20_Opt')[0]
    wider = {'fc.weight': torch.randn(100, 64), 'fc.bias': torch.randn(100)}
    torch.save({'state_dict': {**original, **wider}}, tmp_path / 'theirs.pth')
    found = json.loads(command('info', 'zerosnet20.cifar100', '--json', '--checkpoint', tmp_path / 'theirs.pth'))
    assert found['classes'] == 100 and found['parameters'] == 283_252


# predict


@pytest.fixture
def files(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    for i in range(3):
        Image.fromarray(np.roll(pixels, i, axis=2)).save(tmp_path / f'{i}.png')
    return [tmp_path / f'{i}.png' for i in range(3)]


def test_predict_is_what_timm_says(files, command, monkeypatch):
    monkeypatch.setattr('timm_zerosnet.commands.predict.BATCH', 2)
    found = json.loads(command('predict', *files, '--model', 'zerosnet20', '--topk', '10', '--json'))
    net = timm.create_model('zerosnet20', pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_data_config(model=net))
    with torch.inference_mode():
        expected = net(torch.stack([transform(Image.open(file)) for file in files])).softmax(1)
    for row, file, values in zip(found, files, expected, strict=True):
        assert row['file'] == str(file) and row['notes'] == []
        seen = {entry['index']: entry['probability'] for entry in row['predictions']}
        assert [seen[i] for i in range(10)] == pytest.approx(values.tolist(), abs=1e-5)
        assert list(seen.values()) == sorted(seen.values(), reverse=True)
        assert all(entry['class'] == CIFAR10_LABELS[entry['index']] for entry in row['predictions'])
    lines = command('predict', *files, '--model', 'zerosnet20', '--topk', '1').splitlines()
    assert lines == [
        f'{row["file"]}: {row["predictions"][0]["class"]} {100 * row["predictions"][0]["probability"]:.2f} %'
        for row in found
    ]


def test_predict_by_a_checkpoint(files, command, tmp_path):
    net = timm.create_model('zerosnet20', num_classes=3)
    torch.save({'state_dict': net.state_dict()}, tmp_path / 'mine.pth')
    words = ['predict', files[0], '--model', 'zerosnet20', '--checkpoint', tmp_path / 'mine.pth', '--json']
    (row,) = json.loads(command(*words))
    assert {entry['class'] for entry in row['predictions']} == {'class 0', 'class 1', 'class 2'}
    assert sum(entry['probability'] for entry in row['predictions']) == pytest.approx(1, abs=1e-5)
    (tmp_path / 'names.txt').write_text('rose\ntulip\ndaisy\n')
    (row,) = json.loads(command(*words, '--class-map', tmp_path / 'names.txt'))
    assert {entry['index']: entry['class'] for entry in row['predictions']} == {0: 'rose', 1: 'tulip', 2: 'daisy'}
    assert 'outputs' not in command.__dict__['notes']
    (tmp_path / 'names.txt').write_text('rose\ntulip\n')
    (row,) = json.loads(command(*words, '--class-map', tmp_path / 'names.txt'))
    assert f'{tmp_path / "names.txt"} names 2 of the 3 outputs' in command.__dict__['notes']


def test_predict_says_whose_class_names_they_are(files, command, tmp_path):
    torch.save(timm.create_model('zerosnet20').state_dict(), tmp_path / 'mine.pth')
    command('predict', files[0], '--model', 'zerosnet20', '--checkpoint', tmp_path / 'mine.pth')
    assert 'the class names are those of zerosnet20; --class-map FILE gives others' in command.__dict__['notes']


def test_predict_with_a_grey_model(files, command, tmp_path):
    """Grey images become colour in the loader although the model takes one channel."""
    net = timm.create_model('zerosnet20', in_chans=1, num_classes=4)
    torch.save(net.state_dict(), tmp_path / 'grey.pth')
    command('predict', files[0], '--model', 'zerosnet20', '--checkpoint', tmp_path / 'grey.pth')
    assert '0.png: colours become grey' in command.__dict__['notes']


# all


@pytest.mark.parametrize(
    'name', 'stability list info predict convert demo robustness compare corrupt weights publish train validate'.split()
)
def test_help_has_examples(name, capsys):
    try:
        assert cli.main([name, '--help']) == 0
    except SystemExit as end:
        assert end.code == 0
    text = capsys.readouterr().out
    assert (
        name in set(re.findall(r'^    (\w+)\s', cli._parsers()[0].format_help(), re.MULTILINE)) and f' {name} ' in text
    )
    assert name == 'weights' or re.search(rf'(?m)examples?:\s+timm-zerosnet {name}', text)


def test_momentum_interval():
    """``|1.9 + 0.1 z| < 1.9`` where the product of the roots is 0.9."""
    assert momentum(0.9).stability_interval == pytest.approx(-38)
    assert math.isclose(METHODS['ab3'].stability_interval, -6 / 11, rel_tol=1e-6)
