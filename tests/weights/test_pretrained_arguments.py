"""Arguments beside pretrained weights: those of another function are refused or warned of, and no others."""

import functools
import re
import warnings

import pytest
import timm
import torch
from kinds import same
from safetensors.torch import load_file, save_file
from timm.layers import BatchNormAct2d
from torch import nn

import timm_zerosnet  # noqa: F401
from timm_zerosnet._errors import WeightError
from timm_zerosnet.pretrained_arguments import check_layer_names
from timm_zerosnet.weights import WEIGHTS

IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def logits(model):
    with torch.no_grad():
        return model.eval()(IMAGES)


@pytest.mark.parametrize(
    'name, arguments, said',
    [
        ('zerosnet20', dict(method='euler'), 'the method zerosnet-opt, not for the method euler'),
        ('zerosnet20', dict(projection='shared'), "projection='bare', not for projection='shared'"),
        ('zerosnet20', dict(projection='preact'), "projection='bare', not for projection='preact'"),
        ('zerosnet20', dict(euler_at_projection=True), 'euler_at_projection=False, not for euler_at_projection=True'),
        ('zerosnet20', dict(learn='mu'), "learn=None, not for learn='mu'"),
        ('zerosnet20.cifar100', dict(projection='shared'), "weights of zerosnet20 are for projection='bare'"),
        ('zerosnet20_tra', dict(projection='shared'), "projection='bare', not for projection='shared'"),
        ('zerosnet20_tra', dict(method='euler'), 'a method that each block learns, not for the method euler'),
        ('zerosnet20_tra', dict(learn='k'), "learn='mu', not for learn='k'"),
        ('preresnet20', dict(projection='bare'), "projection='preact', not for projection='bare'"),
        ('preresnet20', dict(method='zerosnet-opt'), 'the method euler, not for the method zerosnet-opt'),
        ('lmresnet20', dict(euler_at_projection=False), 'euler_at_projection=True, not for euler_at_projection=False'),
    ],
)
def test_arguments_of_another_function_are_refused(name, arguments, said):
    for more in ({}, {'num_classes': 5}, {'features_only': True}):
        with pytest.raises(WeightError, match=re.escape(said)) as error:
            timm.create_model(name, pretrained=True, **arguments, **more)
        (argument,) = arguments
        assert f'expected no {argument}= beside pretrained=True' in str(error.value)


@pytest.mark.parametrize('start', ['bare', 'shared', 'preact', None])
def test_first_projection_of_a_bottleneck(start, tmp_path):
    """The weights are of 'preact-raw', which keeps the unprojected state; None leaves it to projection."""
    file = str(tmp_path / 'own.safetensors')
    save_file(timm.create_model('zerosnet164').state_dict(), file)
    entrypoint = timm.models.model_entrypoint('zerosnet164')  # timm.create_model leaves out what is None
    with pytest.raises(WeightError, match="are for start_projection='preact-raw', not for start_projection="):
        entrypoint(pretrained=True, pretrained_cfg_overlay={'file': file}, start_projection=start)
    entrypoint(pretrained=True, pretrained_cfg_overlay={'file': file}, start_projection='preact-raw')


@pytest.mark.parametrize(
    'name, arguments',
    [
        ('zerosnet20', dict(method='zerosnet(-9/5)', projection='bare', euler_at_projection=False)),
        ('zerosnet20', dict(method=timm_zerosnet.parse_method('zerosnet-opt'), start_projection='preact-raw')),
        ('zerosnet20_tra', dict(learn='mu', lambda_init=1, constrain_mu=False)),
        ('preresnet20', dict(method='euler', projection='preact', euler_at_projection=False)),
        ('lmresnet20', dict(learn='k', projection='preact', euler_at_projection=True)),
        ('zerosnet20', dict(act_layer='relu', norm_layer='batchnorm2d')),
        ('zerosnet20', dict(act_layer='ReLU', norm_layer='batchnorm')),
        ('zerosnet20', dict(act_layer=nn.ReLU, norm_layer=nn.BatchNorm2d)),
        ('zerosnet20', dict(act_layer=functools.partial(nn.ReLU, inplace=False), norm_layer=BatchNormAct2d)),
        ('zerosnet20', dict(norm_layer=functools.partial(nn.BatchNorm2d, momentum=0.01))),
    ],
)
def test_what_the_weights_are_for_passes_without_a_word(name, arguments):
    """Warnings are errors in these tests."""
    same(
        logits(timm.create_model(name, pretrained=True, **arguments)), logits(timm.create_model(name, pretrained=True))
    )


@pytest.mark.parametrize(
    'arguments',
    [
        dict(global_pool='max'),
        dict(output_stride=1),
        dict(in_chans=1),
        dict(num_classes=7),
        dict(drop_rate=0.1, drop_path_rate=0.1),
        dict(features_only=True, out_indices=(1, 2)),
        dict(dtype=torch.float64, device='cpu'),
    ],
    ids=str,
)
def test_what_timm_adapts_passes_without_a_word(arguments):
    timm.create_model('zerosnet20', pretrained=True, **arguments)


def warned(name, **arguments):
    """The warnings of ``timm.create_model``, all of which point at the line that calls it."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter('always')
        timm.create_model(name, **arguments)
    assert all(warning.filename == __file__ for warning in found)
    return [str(warning.message) for warning in found]


@pytest.mark.parametrize(
    'arguments, said',
    [
        (dict(act_layer='silu'), "act_layer='silu' changes what the weights compute: expected 'relu'"),
        (dict(act_layer=nn.GELU), 'changes what the weights compute: expected '),
        (dict(act_layer='relu6'), "act_layer='relu6' changes what the weights compute"),
        (dict(act_layer=functools.partial(nn.LeakyReLU, 0.1)), 'changes what the weights compute'),
        (dict(norm_layer=functools.partial(nn.BatchNorm2d, eps=0.1)), "compute: expected 'batchnorm2d'"),
    ],
    ids=str,
)
@pytest.mark.parametrize('more', [{}, {'features_only': True}, {'features_only': True, 'feature_cls': 'fx'}], ids=str)
def test_layer_of_another_kind_is_warned_of_once(arguments, said, more):
    (message,) = warned('zerosnet20', pretrained=True, **arguments, **more)
    assert message.startswith('zerosnet20: ') and said in message
    assert warned('zerosnet20', **arguments, **more) == []


def test_norm_that_has_no_statistics_is_refused():
    with pytest.raises(WeightError, match='57 not of this network'):
        timm.create_model('zerosnet20', pretrained=True, norm_layer='groupnorm1')


@pytest.mark.parametrize(
    'name, arguments, said',
    [
        (
            'zerosnet20',
            dict(start_projection='shared'),
            "start_projection='shared' has no effect: block 0 projects noth",
        ),
        ('preresnet20', dict(euler_at_projection=True), 'euler_at_projection=True has no effect: every block is an Eu'),
    ],
)
def test_argument_without_effect_is_warned_of_once(name, arguments, said):
    for pretrained in (False, True):
        (message,) = warned(name, pretrained=pretrained, **arguments)
        assert message.startswith(f'{name}: {said}')


def test_an_euler_step_is_no_step_of_another_one_step_method():
    method = timm_zerosnet.MultistepMethod([1], [2])
    networks = []
    for euler in (False, True):
        torch.manual_seed(0)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('always')
            networks.append(timm.create_model('multistep_resnet20', method=method, euler_at_projection=euler).eval())
        assert not [w for w in caught if 'no effect' in str(w.message)]
    x = torch.randn(1, 3, 16, 16)
    assert not torch.allclose(networks[0](x), networks[1](x))


def test_lambda_beside_weights_has_no_effect():
    assert warned('zerosnet20_tra', lambda_init=2) == []
    assert warned('zerosnet20_tra', pretrained=True, lambda_init=2) == [
        'zerosnet20_tra: lambda_init=2 has no effect: the weights bring the lambda of each block'
    ]


@pytest.mark.parametrize('name, lam', [('zerosnet20_tra', 1), ('zerosnet18_tra', '-9/5')])
def test_another_learned_coefficient_needs_no_lambda(name, lam):
    """The initial lambda is the family's: the caller never passed it."""
    model = timm.create_model(name, learn='k', device='meta')
    assert model.no_weight_decay() and all(key.endswith('.step.k') for key in model.no_weight_decay())
    assert timm.create_model(name, learn='mu', device='meta').method == timm_zerosnet.parse_method(f'zerosnet({lam})')
    with pytest.raises(ValueError, match="with learn='mu' only .*, got lambda_init=2"):
        timm.create_model(name, learn='k', lambda_init=2)


@pytest.mark.parametrize('constrained', [False, True])
@pytest.mark.parametrize('mu', [0.5, -1.25])
def test_interval_of_weights_that_say_whether_it_holds(constrained, mu, tmp_path):
    own = timm.create_model('zerosnet20_tra', constrain_mu=constrained, num_classes=10)
    own.stages[1].blocks[2].step.mu.data.fill_(mu)
    timm.models.save_for_hf(own, tmp_path, model_args={'constrain_mu': constrained}, safe_serialization=True)
    if not hasattr(own, 'pretrained_model_args'):
        pytest.skip('this timm does not tell')
    given = dict(name=f'local-dir:{tmp_path}', pretrained=True)
    assert warned(**given) == warned(**given, constrain_mu=constrained) == []
    assert warned(**given, constrain_mu=not constrained) == (mu < -1) * [
        f'zerosnet20_tra: constrain_mu={not constrained} changes what the weights compute: mu lies outside [-1, 3) in '
        'stages.1.blocks.2'
    ]


@pytest.mark.parametrize('mu, outside', [(0.5, False), (-1.0, False), (3.5, True), (-1.25, True)])
def test_interval_that_the_weights_leave(mu, outside, tmp_path):
    stored = load_file(WEIGHTS / 'zerosnet20_tra.cifar10.safetensors')
    save_file({**stored, 'stages.1.blocks.2.step.mu': torch.tensor([mu])}, tmp_path / 'own.safetensors')
    given = dict(pretrained=True, pretrained_cfg_overlay=dict(file=str(tmp_path / 'own.safetensors')))
    found = warned('zerosnet20_tra', constrain_mu=True, **given)
    assert found == outside * [
        'zerosnet20_tra: constrain_mu=True changes what the weights compute: mu lies outside [-1, 3) in '
        'stages.1.blocks.2'
    ]
    free, kept = (timm.create_model('zerosnet20_tra', **given) for _ in range(2))
    for module in kept.modules():
        if hasattr(module, 'constrain'):
            module.constrain = True
    assert torch.equal(logits(free), logits(kept)) != outside


def test_weights_from_elsewhere_bring_their_own_arguments(tmp_path):
    """timm tells what a model in a folder was made with: these are no arguments of the caller's."""
    torch.manual_seed(0)
    own = timm.create_model('zerosnet20', projection='shared', act_layer='silu', num_classes=10)
    made_with = {'projection': 'shared', 'act_layer': 'silu'}
    timm.models.save_for_hf(own, tmp_path, model_args=made_with, safe_serialization=True)
    if not hasattr(own, 'pretrained_model_args'):
        pytest.skip('this timm does not tell')
    found = timm.create_model(f'local-dir:{tmp_path}', pretrained=True)
    assert torch.equal(logits(found), logits(own))
    with pytest.raises(WeightError, match="projection='shared', not for projection='bare'"):
        timm.create_model(f'local-dir:{tmp_path}', pretrained=True, projection='bare')
    (message,) = warned(f'local-dir:{tmp_path}', pretrained=True, act_layer='relu')
    assert "act_layer='relu' changes what the weights compute: expected 'silu'" in message


def test_file_of_a_multistep_resnet_is_of_what_the_caller_says(tmp_path):
    given = dict(method='zerosnet(-3)', projection='shared')
    own = timm.create_model('multistep_resnet20', **given)
    save_file(own.state_dict(), tmp_path / 'own.safetensors')
    overlay = dict(file=str(tmp_path / 'own.safetensors'))
    found = timm.create_model('multistep_resnet20', pretrained=True, pretrained_cfg_overlay=overlay, **given)
    assert torch.equal(logits(found), logits(own))


@pytest.mark.parametrize('name', ['multistep_resnet20', 'zerosnet20'])
def test_method_of_weights_from_elsewhere(name, tmp_path):
    own = timm.create_model(name, method='zerosnet(-3)', num_classes=10)
    if not hasattr(own, 'pretrained_model_args'):
        pytest.skip('this timm does not tell')
    source = f'local-dir:{tmp_path}'
    timm.models.save_for_hf(own, tmp_path, model_args={'method': 'zerosnet(-3)'}, safe_serialization=True)
    for given in ({}, {'method': 'zerosnet(-3)'}):
        assert torch.equal(logits(timm.create_model(source, pretrained=True, **given)), logits(own))
    with pytest.raises(WeightError, match=r'are for the method zerosnet\(-3\), not for the method momentum\(1/2\)'):
        timm.create_model(source, pretrained=True, method='momentum(0.5)')


@pytest.mark.parametrize('channels', [1, 2, 4, 5])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64], ids=str)
def test_adapted_input_layer_is_not_rounded(channels, dtype, tmp_path):
    """The file's float16 is widened before timm adapts the layer; in it the logits are 7e-4 off."""
    stored = load_file(WEIGHTS / 'zerosnet20.cifar10.safetensors')
    wide = {key: value.float() if value.is_floating_point() else value for key, value in stored.items()}
    save_file(wide, tmp_path / 'wide.safetensors')
    given = dict(pretrained=True, in_chans=channels, dtype=dtype)
    found = timm.create_model('zerosnet20', **given)
    overlay = dict(file=str(tmp_path / 'wide.safetensors'))
    wanted = timm.create_model('zerosnet20', pretrained_cfg_overlay=overlay, **given)
    x = torch.randn(2, channels, 32, 32, dtype=dtype, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert (found.eval()(x) - wanted.eval()(x)).abs().max() <= 1e-5
    stem = stored['stem.conv.weight'].double()
    adapted = stem.sum(1, keepdim=True) if channels == 1 else stem.repeat(1, 2, 1, 1)[:, :channels] * 3 / channels
    assert (found.stem.conv.weight.double() - adapted).abs().max() <= 1e-6


def test_empty_network_is_refused():
    """On the meta device a network has no values, so that weights would be lost without a word."""
    makers = [
        lambda: timm.create_model('zerosnet20', pretrained=True, device='meta'),
        lambda: timm.create_model('zerosnet20', pretrained=True, device=torch.device('meta'), num_classes=7),
        lambda: timm.create_model('zerosnet20', pretrained=True, device='meta', features_only=True),
    ]
    for make in makers:
        with pytest.raises(WeightError, match="pretrained=True leaves a network on the device 'meta' without values"):
            make()
    with torch.device('meta'), pytest.raises(WeightError, match="the device 'meta' without values"):
        timm.create_model('zerosnet20', pretrained=True)
    assert timm.create_model('zerosnet20', device='meta').stem.conv.weight.is_meta


def test_layers_that_timm_has_and_those_that_it_does_not():
    """The commands give the names (tests/commands/test_bad_input.py); a caller of timm gets timm's own error."""
    for key in ('act_layer', 'norm_layer'):
        with pytest.raises(ValueError, match=rf"^{key}: expected one of (.*), got 'foo'$") as error:
            check_layer_names({key: 'foo'})
        for name in str(error.value).partition('one of ')[2].partition(', got')[0].split(', '):
            check_layer_names({key: name})
        with pytest.raises(KeyError, match='foo'):
            timm.create_model('zerosnet20', **{key: 'foo'})
    check_layer_names({'act_layer': nn.GELU, 'norm_layer': BatchNormAct2d, 'in_chans': 1})
