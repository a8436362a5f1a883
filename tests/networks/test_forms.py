"""Training aids, and the same network in other forms: copies, sizes, layouts, TorchScript, torch.fx."""

import copy
import io
import pickle

import pytest
import timm
import torch
from kinds import KINDS, VARIED, create, each_kind, images, same, settle, slow_but
from timm.optim import create_optimizer_v2
from torchvision.models.feature_extraction import create_feature_extractor

# --- training


@each_kind
def test_layer_decay(name):
    model = create(name)
    optimizer = create_optimizer_v2(model, 'sgd', lr=0.1, weight_decay=1e-4, layer_decay=0.7)
    scale = {p: group['lr_scale'] for group in optimizer.param_groups for p in group['params']}
    decay = {p: group['weight_decay'] for group in optimizer.param_groups for p in group['params']}
    assert len(scale) == len(list(model.parameters()))
    firsts = [block.conv1.weight for stage in model.stages for block in stage.blocks]
    order = [scale[p] for p in (model.stem.conv.weight, *firsts, model.head.fc.weight)]
    assert order == sorted(set(order)) and order[-1] == 1 == max(scale.values())
    for block in (block for stage in model.stages for block in stage.blocks):
        assert len({scale[p] for p in block.parameters()}) == 1
    assert all(scale[p] == scale[firsts[-1]] for p in model.norm.parameters())
    steps = {n: p for n, p in model.named_parameters() if n.endswith(('.step.mu', '.step.k'))}
    assert model.no_weight_decay() == set(steps) and bool(steps) == (name.endswith('_tra') or name.startswith('lm'))
    assert all(decay[p] == 0 for p in steps.values()) and decay[model.head.fc.weight] > 0
    coarse = timm.models.group_parameters(model, model.group_matcher(coarse=True), reverse=True)
    assert coarse.keys() == dict(model.named_parameters()).keys()
    assert len(set(coarse.values())) == 2 + len(model.stages)


@pytest.mark.parametrize('name', slow_but(['zerosnet20', *VARIED]))
@pytest.mark.parametrize('features_only', [False, True], ids=['whole', 'features'])
def test_grad_checkpointing_changes_nothing(name, features_only):
    model = create(name, features_only=features_only, drop_path_rate=0.2)
    other = copy.deepcopy(model)
    inner = other.model if features_only else other
    inner.set_grad_checkpointing()
    calls, results = [], []
    inner.stages[-1].blocks[-1].conv1.register_forward_hook(lambda *args: calls.append(1))
    for net in (model, other):
        torch.manual_seed(2)
        x = images(name).requires_grad_()
        outputs = net.train()(x) if features_only else [net.train()(x)]
        sum(y.square().mean() for y in outputs).backward()
        results.append([*outputs, x.grad, *(p.grad for p in net.parameters()), *net.buffers()])
    assert len(calls) == 2  # forward, and again for the backward pass
    same(results[1], results[0], 1e-6)
    inner.set_grad_checkpointing(False)
    inner.forward_features(images(name)).sum().backward()
    assert len(calls) == 3


@pytest.mark.parametrize('norm', ['evonormb0', 'evonormb2', 'batchnorm2d'])
def test_grad_checkpointing_counts_a_batch_once(norm):
    """EvoNorm keeps a running variance without a counter."""
    found = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        model = timm.create_model('zerosnet20', norm_layer=norm)
        model.set_grad_checkpointing(checkpointing)
        model.train()(images('zerosnet20')).square().mean().backward()
        found.append(list(model.buffers()))
    same(*found, 1e-6)


def test_default_levels_are_those_of_the_stages_there_are():
    for layers, widths in (((2, 2, 2, 2), (8, 16, 32, 64)), ((2, 2), (8, 16))):
        made = dict(layers=layers, widths=widths)
        assert timm.create_model('multistep_resnet20', features_only=True, **made).feature_info.channels() == [
            widths[0],
            *widths,
        ]


# --- hooks


@each_kind
def test_hooks_see_what_the_last_convolution_of_a_branch_returns(name):
    model = settle(create(name), name)
    block = model.stages[-1].blocks[-1]
    conv = block.conv3 if hasattr(block, 'conv3') else block.conv2
    seen = {}

    def forward_hook(module, inputs, output):
        seen.update(held=output, then=output.clone())

    with conv.register_forward_hook(forward_hook):
        model(images(name))
    assert torch.equal(seen['held'], seen['then'])
    with conv.register_full_backward_hook(lambda module, inputs, outputs: seen.update(gradient=outputs[0])):
        model(images(name)).square().sum().backward()
    assert seen['gradient'].shape == seen['held'].shape and seen['gradient'].abs().sum() > 0
    gradient = seen.pop('gradient')
    with conv.register_full_backward_pre_hook(lambda module, outputs: seen.update(gradient=outputs[0])):
        model(images(name)).square().sum().backward()
    torch.testing.assert_close(seen['gradient'], gradient)


def test_hooks_on_all_modules_see_what_convolutions_return():
    model, seen = create('zerosnet20').eval(), []

    def hook(module, inputs, output):
        if isinstance(module, torch.nn.Conv2d):
            seen.append((output, output.clone()))

    with torch.nn.modules.module.register_module_forward_hook(hook), torch.inference_mode():
        model(images('zerosnet20'))
    assert len(seen) == 1 + 2 * 9 + 2 * 3 and all(torch.equal(*pair) for pair in seen)


def test_features_taken_by_fx_are_what_the_convolution_returns():
    model, node = create('zerosnet20').eval(), 'stages.0.blocks.2.conv2'
    kept = {}
    with torch.inference_mode():
        with model.get_submodule(node).register_forward_hook(lambda module, inputs, output: kept.update(output=output)):
            model(images('zerosnet20'))
        taken = create_feature_extractor(model, [node])(images('zerosnet20'))[node]
    torch.testing.assert_close(taken, kept['output'])


# --- forms of the same network


@pytest.mark.parametrize('name', slow_but(['zerosnet20', 'zerosnet50_tra']))
def test_odd_sizes_single_images_copies_and_modes(name):
    model = settle(create(name, dtype=torch.float64), name)
    with torch.no_grad():
        for height, width in ((28, 28), (33, 33), (30, 47)):
            x = images(name, batch=3, size=(height, width), dtype=torch.float64)
            together = model(x)
            assert together.isfinite().all()
            same(torch.cat([model(one[None]) for one in x]), together, 1e-9)
        channels_last = copy.deepcopy(model).to(memory_format=torch.channels_last)
        same(channels_last(x.to(memory_format=torch.channels_last)), together, 1e-9)
        assert torch.equal(copy.deepcopy(model)(x), together)
        assert torch.equal(pickle.loads(pickle.dumps(model))(x), together)
        other = timm.create_model(name, **KINDS[name], dtype=torch.float64).eval()
        assert not torch.equal(other(x), together)
        buffer = io.BytesIO()
        torch.save(model.state_dict(), buffer)
        buffer.seek(0)
        other.load_state_dict(torch.load(buffer, weights_only=True), strict=True)
        assert torch.equal(other(x), together)
        assert not torch.equal(model.train()(x), together)  # batch statistics, and they move the running ones
        assert not torch.equal(model.eval()(x), together)


def reloaded(module):
    buffer = io.BytesIO()
    torch.jit.save(module, buffer)
    buffer.seek(0)
    return torch.jit.load(buffer)


@pytest.mark.slow
@each_kind
def test_script_trace_and_fx(name):
    """Scripting fails where some blocks lack a submodule that others have."""
    model = settle(create(name), name)
    x, other, one = images(name, batch=3), images(name, batch=2, size=(48, 40)), images(name, batch=1)
    with torch.no_grad():
        whole = (torch.jit.script(model), torch.jit.trace(model, x), torch.fx.symbolic_trace(model))
        for form in (*map(reloaded, whole[:2]), whole[2]):
            same([form(x), form(other), form(one)], [model(x), model(other), model(one)])
        for kwargs in (dict(num_classes=0), dict(features_only=True, out_indices=(2, 0))):
            net = settle(create(name, **kwargs), name)
            same(torch.jit.script(net)(x), net(x))


@pytest.mark.parametrize('name', ['zerosnet20', 'zerosnet20_tra', 'multistep_resnet20'])
def test_scripted_network_trains(name):
    model, x = create(name), images(name)
    scripted = torch.jit.script(copy.deepcopy(model))
    for net in (model, scripted):
        net(x).square().sum().backward()
    for found, wanted in zip(scripted.parameters(), model.parameters(), strict=True):
        same(found.grad, wanted.grad, 1e-4)
