"""Tools that act on a layer from outside see the layers that they expect: pruning, adapters, counters, tracers."""

from __future__ import annotations

import copy

import amounts
import pytest
import timm
import torch
from kinds import create, each_kind, images, is_imagenet, settle, slow_but
from timm.utils import reparameterize_model
from torch import nn
from torch.func import functional_call, grad, vmap
from torch.nn.utils import parametrizations, prune

ON_CIFAR = {
    'zerosnet20': {},
    'zerosnet20_tra': {},
    'zerosnet164': dict(layers=(4, 1, 2)),
    'preresnet20': {},
    'lmresnet20': {},
    'multistep_resnet20': dict(method='ab3'),
}
each_on_cifar = pytest.mark.parametrize('name', ON_CIFAR)


def convolutions(model):
    return {name: module for name, module in model.named_modules() if isinstance(module, nn.Conv2d)}


def distance(found, wanted):
    """Largest difference, as a part of the largest logit."""
    return float((found - wanted).detach().abs().max() / wanted.detach().abs().max())


def train(model, x, steps=3):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        model.train()(x).square().mean().backward()
        optimizer.step()
    return model.eval()


@each_kind
def test_every_convolution_is_a_plain_one_that_is_called_once(name):
    model, calls = create(name).eval(), []
    for conv in convolutions(model).values():
        assert type(conv) is nn.Conv2d
        conv.register_forward_hook(lambda module, args, out: calls.append((module, len(args))))
    with torch.no_grad():
        model(images(name))
    assert sorted(id(conv) for conv in convolutions(model).values()) == sorted(id(conv) for conv, _ in calls)
    assert {count for _, count in calls} == {1}


@each_kind
@pytest.mark.parametrize('fused', [False, True], ids=['whole', 'fused'])
def test_no_step_changes_a_tensor_that_it_did_not_make(name, fused):
    model = settle(create(name), name)
    model = reparameterize_model(model).eval() if fused else model
    held = []

    def hold(module, args, out):
        slope, states, slopes = args
        held.extend((each, each.clone()) for each in (slope, *states, *slopes, out))

    for module in model.modules():
        if hasattr(module, 'step'):
            module.step.register_forward_hook(hold)
    with torch.no_grad():
        model(images(name))
    assert held and all(torch.equal(*pair) for pair in held)


# --- weights that are computed from other parameters


@each_kind
def test_a_pruned_network_answers_twice_alike_and_takes_new_weights(name):
    model, x = create(name), images(name)
    for conv in convolutions(model).values():
        prune.l1_unstructured(conv, 'weight', 0.3)
    train(model, x)
    with torch.no_grad():
        assert torch.equal(model(x), model(x))
    other = copy.deepcopy(model).eval()
    for conv in convolutions(other).values():
        nn.init.normal_(conv.weight_orig, std=0.1)
    with torch.no_grad():
        wanted = other(x)
        assert not torch.allclose(model(x), wanted)
        model.load_state_dict(other.state_dict())
        assert torch.equal(model(x), wanted)


MADE_FROM = {
    'weight_norm': (parametrizations.weight_norm, 'parametrizations.weight.original1'),
    'spectral_norm': (parametrizations.spectral_norm, 'parametrizations.weight.original'),
    'pruning': (lambda conv: prune.l1_unstructured(conv, 'weight', 0.3), 'weight_orig'),
}


@pytest.mark.parametrize('name', slow_but(['zerosnet20', 'zerosnet164', 'multistep_resnet20'], ON_CIFAR))
@pytest.mark.parametrize('kind', MADE_FROM)
def test_weights_made_from_others_train_and_are_left_by_fuse(name, kind):
    make, parameter = MADE_FROM[kind]
    model, x = create(name, **ON_CIFAR[name]), images(name)
    last = 'conv3' if hasattr(model.stages[0].blocks[0], 'conv3') else 'conv2'
    chosen = [getattr(block, conv) for block in model.stages[0].blocks[-2:] for conv in ('conv1', last)]
    for conv in chosen:
        make(conv)
    before = [conv.get_parameter(parameter).clone() for conv in chosen]
    train(model, x)
    assert not any(torch.equal(conv.get_parameter(parameter), old) for conv, old in zip(chosen, before, strict=True))
    with torch.no_grad():
        wanted = model(x)
        fused = reparameterize_model(model).eval()
        assert distance(fused(x), wanted) < 1e-5
        assert distance(reparameterize_model(fused).eval()(x), wanted) < 1e-5
    assert getattr(fused.stages[0].blocks[-1], last).get_parameter(parameter) is not None


WATCHED = {
    'hook': lambda module: module.register_forward_hook(lambda module, args, out: 0.5 * out + 1),
    'pre-hook': lambda module: module.register_forward_pre_hook(lambda module, args: (args[0] + 1,)),
    'forward': lambda module: setattr(module, 'forward', lambda x: type(module).forward(module, x) + 1),
}


@pytest.mark.parametrize('layer', ['conv1', 'norm2', 'conv2', 'drop_path'])
@pytest.mark.parametrize('kind', WATCHED)
def test_fuse_leaves_what_hooks_change(kind, layer):
    model, x = settle(create('zerosnet20'), 'zerosnet20'), images('zerosnet20')
    for block in model.stages[1].blocks:
        WATCHED[kind](getattr(block, layer))
    with torch.no_grad():
        wanted = model(x)
        assert distance(reparameterize_model(model, inplace=True).eval()(x), wanted) < 1e-5
    untouched = model.stages[0].blocks[-1]
    assert isinstance(untouched.norm2, nn.ReLU) and untouched.step.b0 == 1  # elsewhere it folds


@pytest.mark.parametrize(
    'name, options', [('zerosnet20', {}), ('zerosnet20_tra', {}), ('multistep_resnet20', {'method': 'ab2'})]
)
def test_fuse_leaves_a_step_with_a_hook(name, options):
    model, x = settle(create(name, **options), name), images(name)
    for block in model.stages[1].blocks:
        block.step.register_forward_hook(lambda module, args, out: 0.5 * out + 1)
    with torch.no_grad():
        wanted = model(x)
        assert distance(reparameterize_model(model, inplace=True).eval()(x), wanted) < 1e-5


@torch.no_grad()
def test_fuse_gives_blocks_that_share_a_convolution_weights_of_their_own():
    model = create('zerosnet20')
    first, second = model.stages[2].blocks[1:]
    second.conv1, second.conv2 = first.conv1, first.conv2
    settle(model, 'zerosnet20')
    for norm in (first.norm2, second.norm2):
        nn.init.uniform_(norm.weight, 0.5, 2)
    x = images('zerosnet20')
    wanted = model(x)
    assert distance(reparameterize_model(model, inplace=True)(x), wanted) < 1e-5


@pytest.mark.parametrize(
    'name, dora, targets',
    amounts.slow_but(
        [('zerosnet20', False, 'branch'), ('zerosnet20_tra', True, 'all'), ('multistep_resnet20', True, 'branch')],
        [(name, dora, targets) for name in ON_CIFAR for dora in (False, True) for targets in ('branch', 'all')],
    ),
)
def test_an_adapter_merges_to_the_same_function(name, dora, targets):
    peft = pytest.importorskip('peft')
    model, x = create(name, **ON_CIFAR[name]), images(name)
    chosen = [each for each in convolutions(model) if targets == 'all' or each.split('.')[-1].startswith('conv')]
    config = peft.LoraConfig(r=4, target_modules=chosen, use_dora=dora, init_lora_weights=False)
    adapted = train(peft.get_peft_model(model, config), x)
    with torch.no_grad():
        wanted = adapted(x)
        fused = reparameterize_model(adapted.base_model.model).eval()
        assert distance(fused(x), wanted) < 1e-5
        assert distance(adapted.merge_and_unload()(x), wanted) < 1e-5


@pytest.mark.filterwarnings('ignore:There is a performance drop:UserWarning')  # addcmul has no batching rule
@each_on_cifar
def test_gradients_of_single_samples(name):
    model = create(name, norm_layer='groupnorm1', num_classes=3, **ON_CIFAR[name])
    parameters, x = dict(model.named_parameters()), images(name)

    def loss(parameters, image):
        return functional_call(model, parameters, (image[None],)).square().sum()

    found = vmap(grad(loss), in_dims=(None, 0))(parameters, x)
    for i, image in enumerate(x):
        wanted = torch.autograd.grad(loss(parameters, image), list(parameters.values()))
        for own, expected in zip(found.values(), wanted, strict=True):
            torch.testing.assert_close(own[i], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings('ignore:There is a performance drop:UserWarning')  # addcmul has no batching rule
def test_an_ensemble_under_vmap_answers_as_its_members():
    members = [settle(create('zerosnet20_tra', constrain_mu=i > 0), 'zerosnet20_tra') for i in range(2)]
    for member in members:
        for name, value in member.named_parameters():
            if name.endswith('mu'):
                nn.init.uniform_(value, -0.9, 2.9)
    x = images('zerosnet20_tra')
    parameters, buffers = torch.func.stack_module_state(members)
    with torch.no_grad():
        found = vmap(lambda p, b: functional_call(members[0], (p, b), (x,)))(parameters, buffers)
        torch.testing.assert_close(found, torch.stack([member(x) for member in members]), rtol=1e-4, atol=1e-4)


def test_fully_sharded_training_is_training(tmp_path):
    distributed = pytest.importorskip('torch.distributed')
    fsdp = pytest.importorskip('torch.distributed.fsdp')
    if not hasattr(fsdp, 'fully_shard'):
        pytest.skip('fully_shard came with torch 2.6')
    distributed.init_process_group('gloo', init_method=(tmp_path / 'meeting').as_uri(), rank=0, world_size=1)
    try:
        mesh = distributed.device_mesh.init_device_mesh('cpu', (1,))
        plain = create('zerosnet20_tra')
        sharded = copy.deepcopy(plain)
        for conv in convolutions(sharded).values():
            fsdp.fully_shard(conv, mesh=mesh)
        fsdp.fully_shard(sharded, mesh=mesh)
        x = images('zerosnet20_tra')
        wanted, found = train(plain, x)(x), train(sharded, x)(x)
        assert distance(found, wanted) < 1e-5
    finally:
        distributed.destroy_process_group()


def test_averaged_weights_of_torch_and_timm():
    """Also the scalars, which a few steps move by less than the logits would show."""
    model, x = create('zerosnet20_tra'), images('zerosnet20_tra')
    start = {name: value.detach().clone() for name, value in model.named_parameters()}
    averaged, ema = torch.optim.swa_utils.AveragedModel(model), timm.utils.ModelEmaV3(model, decay=0.75)
    averaged.update_parameters(model)
    train(model, x)
    averaged.update_parameters(model)
    ema.update(model)
    trained = dict(model.named_parameters())
    assert any(name.endswith('.mu') and not torch.equal(value, start[name]) for name, value in trained.items())
    for found, share in ((averaged.module, 0.5), (ema.module, 0.25)):
        wanted = {name: torch.lerp(start[name], value, share) for name, value in trained.items()}
        torch.testing.assert_close(dict(found.named_parameters()), wanted)
    torch.optim.swa_utils.update_bn([x], averaged)
    with torch.no_grad():
        assert averaged.eval()(x).isfinite().all()


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore::FutureWarning', 'ignore::UserWarning', 'ignore::DeprecationWarning')  # theirs
def test_lightning_averages_weights(tmp_path):
    lightning = pytest.importorskip('lightning')

    class Training(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = create('zerosnet20')

        def training_step(self, batch):
            return self.model(batch).square().mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    training, loader = Training(), torch.utils.data.DataLoader(images('zerosnet20', batch=4), batch_size=2)
    averaging = lightning.pytorch.callbacks.StochasticWeightAveraging(0.05, swa_epoch_start=1)
    lightning.Trainer(
        max_epochs=3, callbacks=[averaging], default_root_dir=tmp_path, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, accelerator='cpu',
    ).fit(training, loader)  # fmt: skip
    with torch.no_grad():
        assert training.model.eval()(images('zerosnet20')).isfinite().all()


# --- counters; zerosnet20 has 41.3 M multiplications in its convolutions and its classifier at 32 pixels

MACS, PARAMETERS = 41_337_482, 277_402


def one_image():
    return torch.randn(1, 3, 32, 32)


def test_the_count_is_that_of_the_layers():
    layers, model = [], create('zerosnet20').eval()

    def count(module, args, out):
        kernel = module.kernel_size[0] * module.kernel_size[1] if isinstance(module, nn.Conv2d) else 1
        layers.append(kernel * args[0].shape[1] * out.numel())

    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.register_forward_hook(count)
    model(one_image())
    assert sum(layers) + 10 == MACS and sum(p.numel() for p in model.parameters()) == PARAMETERS


def test_thop_counts_all_convolutions():
    thop = pytest.importorskip('thop')
    model = create('zerosnet20').eval()
    norms = sum(p.numel() for m in model.modules() if isinstance(m, nn.BatchNorm2d) for p in m.parameters())
    macs, parameters = thop.profile(model, (one_image(),), verbose=False)
    assert macs == pytest.approx(MACS, rel=1e-3) and parameters == PARAMETERS - norms  # it knows no norm of timm's


@pytest.mark.parametrize('backend', ['pytorch', 'aten'])
def test_ptflops_counts_all_convolutions(backend):
    ptflops = pytest.importorskip('ptflops')
    macs, parameters = ptflops.get_model_complexity_info(
        create('zerosnet20').eval(), (3, 32, 32), as_strings=False, print_per_layer_stat=False, backend=backend
    )
    assert macs == pytest.approx(MACS, rel=2e-2) and parameters == PARAMETERS  # it counts activations, too


def test_fvcore_and_torch_count_all_convolutions():
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        create('zerosnet20').eval()(one_image())
    assert counter.get_total_flops() == pytest.approx(2 * MACS, rel=1e-3)
    fvcore = pytest.importorskip('fvcore.nn')
    counted = fvcore.FlopCountAnalysis(create('zerosnet20').eval(), one_image())
    counted.unsupported_ops_warnings(False)
    assert counted.total() == pytest.approx(MACS, rel=2e-2)  # norms count, too


# --- tracers


@pytest.mark.slow
@pytest.mark.parametrize('method', ['ab3', 'zerosnet-opt', 'lm(1.5)'])
def test_openvino_takes_a_trace(method):
    openvino = pytest.importorskip('openvino')
    model = create('multistep_resnet20', method=method).eval() if method != 'lm(1.5)' else create('lmresnet20').eval()
    x = images('multistep_resnet20')
    converted = openvino.convert_model(model, example_input=x)
    compiled = openvino.compile_model(converted, 'CPU', {'INFERENCE_PRECISION_HINT': 'f32'})
    with torch.no_grad():
        assert distance(torch.from_numpy(compiled(x.numpy())[0]), model(x)) < 1e-5


@pytest.mark.parametrize('name', ['zerosnet20', 'zerosnet20_tra', 'lmresnet20', 'multistep_resnet20', 'zerosnet18'])
@pytest.mark.filterwarnings('ignore:Unwrapped parameters detected:UserWarning')  # mu and k, which have no channels
def test_torch_pruning_removes_channels(name):
    torch_pruning = pytest.importorskip('torch_pruning')
    model = create(name).eval()
    before = sum(p.numel() for p in model.parameters())
    importance = torch_pruning.importance.MagnitudeImportance()
    torch_pruning.pruner.MagnitudePruner(
        model, images(name), importance, pruning_ratio=0.5, ignored_layers=[model.head.fc]
    ).step()
    out = model(images(name))
    assert out.shape == (2, model.num_classes) and sum(p.numel() for p in model.parameters()) < before / 2


# --- explanations: where a single tensor can be found


def places(model):
    return model.norm, model.stages[-1].blocks[-1].step, model.stages[0].blocks[0].step


def held_by(model, layer, x):
    """The logit of class 3 and what a hook holds of the layer."""
    held = []
    with layer.register_forward_hook(lambda module, args, out: held.append(out)):
        return model(x)[0, 3], held[0]


@pytest.mark.parametrize(
    'name, fused',
    amounts.slow_but(
        [('zerosnet20', True)],
        [(name, fused) for name in ('zerosnet20', 'multistep_resnet20', 'zerosnet18') for fused in (False, True)],
    ),
)
@pytest.mark.filterwarnings('ignore:Setting forward, backward hooks:UserWarning')
def test_grad_cam_at_the_norm_and_at_a_step(name, fused):
    captum, cam = pytest.importorskip('captum.attr'), pytest.importorskip('pytorch_grad_cam')
    targets = pytest.importorskip('pytorch_grad_cam.utils.model_targets')
    model = settle(create(name), name)
    model = reparameterize_model(model).eval() if fused else model
    x = images(name, batch=1)
    for layer in places(model):
        score, held = held_by(model, layer, x)
        (gradient,) = torch.autograd.grad(score, held)
        by_hand = (gradient.mean((2, 3), keepdim=True) * held).sum(1, keepdim=True).detach()
        torch.testing.assert_close(captum.LayerGradCam(model, layer).attribute(x, target=3), by_hand)
        map_of_theirs = cam.GradCAM(model, [layer])(x, [targets.ClassifierOutputTarget(3)])
        assert map_of_theirs.shape == (1, *x.shape[2:]) and 0 <= map_of_theirs.min() < map_of_theirs.max() <= 1


def test_timms_synchronised_norms_keep_the_activation_that_torchs_drop():
    model, x = settle(create('zerosnet20'), 'zerosnet20'), images('zerosnet20')
    with torch.no_grad():
        wanted = model(x)
        timms = timm.layers.convert_sync_batchnorm(copy.deepcopy(model)).eval()(x)
        torchs = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(model)).eval()(x)
    assert distance(timms, wanted) < 1e-5
    assert distance(torchs, wanted) > 0.1  # the documents say so


@pytest.mark.parametrize('name', ['zerosnet18', 'preresnet34'])
def test_segmentation_models_take_networks_of_imagenets_style(name):
    smp = pytest.importorskip('segmentation_models_pytorch')
    model = smp.Unet(f'tu-{name}', encoder_weights=None, classes=2)
    assert is_imagenet(name) and model(torch.randn(2, 3, 64, 64)).shape == (2, 2, 64, 64)


def test_segmentation_models_refuse_networks_of_cifars_style():
    smp = pytest.importorskip('segmentation_models_pytorch')
    with pytest.raises(ValueError, match='downsampling'):  # the documents say so
        smp.Unet('tu-zerosnet20', encoder_weights=None, classes=2)
