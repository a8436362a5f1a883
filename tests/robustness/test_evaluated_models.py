"""Any model can be measured, as timm would do it, and is handed back as it was."""

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_model_data_config
from torch import nn

import timm_zerosnet  # noqa: F401
from timm_zerosnet.robustness import evaluate
from timm_zerosnet.robustness.preprocessing import data_config, resize

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
LABELS = np.arange(12) % 10
HALF = dict(mean=(0.5,) * 3, std=(0.5,) * 3)


@pytest.fixture
def net():
    return timm.create_model('zerosnet20', pretrained=True)


def plain(channels=3, size=32, classes=10):
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * size * size, classes))


def by_hand(net, pictures, **kwargs):
    """Logits with timm's own preprocessing."""
    transform = create_transform(**resolve_model_data_config(net, use_test_size=True, **kwargs))
    with torch.inference_mode():
        return net.eval()(torch.stack([transform(picture) for picture in pictures]))


def assert_judges(found, logits, labels):
    assert np.array_equal(found.predicted, logits.argmax(1).numpy())
    assert np.array_equal(found.correct, found.predicted == labels)
    assert np.allclose(found.confidence, logits.softmax(1).amax(1).numpy(), atol=1e-6)
    loss = nn.functional.cross_entropy(logits, torch.as_tensor(labels), reduction='none')
    assert np.allclose(found.loss, loss.numpy(), atol=1e-5)
    rank = (logits > logits[range(len(labels)), labels][:, None]).sum(1)
    assert np.array_equal(found.correct_top5, (rank < 5).numpy())
    assert found.top1 == 100 * found.correct.mean() and found.top5 == 100 * found.correct_top5.mean()


def test_figures_are_those_of_the_logits(net):
    logits = by_hand(net, [Image.fromarray(image) for image in IMAGES])
    ranks = [0] * 3 + [4] * 6 + [5] * 3
    labels = logits.argsort(1, descending=True)[range(12), ranks].numpy()
    found = evaluate(net, IMAGES, labels)
    assert_judges(found, logits, labels)
    assert (found.top1, found.top5) == (25, 75)
    assert [getattr(found, field).dtype.name for field in ('correct', 'predicted', 'confidence', 'loss')] == [
        *('bool', 'int64', 'float32', 'float32')
    ]


@pytest.mark.parametrize(
    'config',
    [
        {},
        dict(crop_pct=0.75, interpolation='bicubic'),
        dict(input_size=(3, 40, 40), crop_mode='border'),
        dict(test_input_size=(3, 48, 48), test_crop_pct=0.9, crop_mode='squash'),
    ],
    ids=str,
)
@pytest.mark.parametrize('height, width', [(32, 32), (45, 70), (20, 24)])
def test_other_sizes_are_resized_as_timm_does_it(height, width, config):
    net = timm.create_model('zerosnet20', pretrained=True, pretrained_cfg_overlay=config)
    images = np.random.default_rng(1).integers(0, 256, (5, height, width, 3), dtype=np.uint8)
    pictures = [Image.fromarray(image) for image in images]
    logits = by_hand(net, pictures)
    for form in (images, pictures):
        assert_judges(evaluate(net, form, LABELS[:5]), logits, LABELS[:5])


def test_pictures_of_several_sizes_and_kinds():
    net = timm.create_model('zerosnet20', pretrained=True)
    sizes, modes = [(32, 32), (50, 40), (33, 90)], ['L', 'RGBA', 'P']
    pictures = [Image.fromarray(IMAGES[0]).resize(size).convert(mode) for size in sizes for mode in modes]
    logits = by_hand(net, [picture.convert('RGB') for picture in pictures])
    assert_judges(evaluate(net, pictures, LABELS[:9]), logits, LABELS[:9])


def test_grey_model_takes_grey_images():
    net = timm.create_model('zerosnet20', pretrained=True, in_chans=1)
    grey = np.stack([np.asarray(Image.fromarray(image).convert('L')) for image in IMAGES])[..., None]
    mean, std = (sum(net.pretrained_cfg[key]) / 3 for key in ('mean', 'std'))
    with torch.inference_mode():
        logits = net.eval()((torch.from_numpy(grey).permute(0, 3, 1, 2) / 255 - mean) / std)
    colours = [Image.fromarray(image) for image in IMAGES]
    forms = {
        'array': grey,
        'floats': grey / 255,
        'tensor': torch.from_numpy(grey).permute(0, 3, 1, 2),
        'grey pictures': [picture.convert('L') for picture in colours],
        'colour pictures': colours,
        'list of arrays': list(grey),
    }
    for form in forms.values():
        assert_judges(evaluate(net, form, LABELS), logits, LABELS)
    noisy = [evaluate(net, form, LABELS, perturbation='randn', level=0.1).loss for form in forms.values()]
    assert all(np.allclose(loss, noisy[0], atol=1e-5) for loss in noisy)
    assert not np.allclose(noisy[0], evaluate(net, grey, LABELS).loss, atol=1e-2)
    with pytest.raises(ValueError, match=r'expected shape \(N, H, W, 1\) .* takes 1 channels, got \(12, 32, 32, 3\)'):
        evaluate(net, IMAGES, LABELS)


def test_noise_is_added_before_the_normalisation(net):
    """Noise on normalised values: a white image stays white under what brightens, whatever the mean and deviation."""
    white, black = np.full_like(IMAGES, 255), np.zeros_like(IMAGES)
    for images, level in ((white, 0.45), (black, -0.45)):
        clean = evaluate(net, images, LABELS)
        for form in (images, images / 255, [Image.fromarray(image) for image in images]):
            assert np.array_equal(evaluate(net, form, LABELS, perturbation='const', level=level).loss, clean.loss)
        opposite = evaluate(net, images, LABELS, perturbation='const', level=-level)
        as_pixels = evaluate(net, np.clip(images / 255 - level, 0, 1), LABELS)
        assert np.allclose(opposite.loss, as_pixels.loss, atol=1e-4) and not np.allclose(opposite.loss, clean.loss)


def test_module_without_config_needs_mean_and_std():
    for given in ({}, {'mean': HALF['mean']}, {'std': HALF['std']}):
        with pytest.raises(ValueError, match='Sequential has no timm config: give mean and std'):
            evaluate(plain(), IMAGES, LABELS, **given)


@pytest.mark.parametrize('size', [32, 20])
def test_module_without_config_takes_images_as_they_are(size):
    net, images = plain(size=size), np.ascontiguousarray(IMAGES[:, :size, :size])
    with torch.inference_mode():
        logits = net((torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - 0.5) / 0.5)
    for form in (images, images / 255, torch.from_numpy(images), [Image.fromarray(image) for image in images]):
        assert_judges(evaluate(net, form, LABELS, **HALF), logits, LABELS)
    pictures = [Image.fromarray(image) for image in images[:-1]] + [Image.new('RGB', (size, size + 1))]
    with pytest.raises(ValueError, match='expected images of one size'):
        evaluate(net, pictures, LABELS, **HALF)


def test_mean_and_std_can_be_given(net):
    logits = net.eval()((torch.from_numpy(IMAGES).permute(0, 3, 1, 2) / 255 - 0.5) / 0.25).detach()
    assert_judges(evaluate(net, IMAGES, LABELS, mean=0.5, std=(0.25,) * 3), logits, LABELS)


def test_two_classes():
    """Top-5 of fewer than five classes would fail."""
    found = evaluate(plain(classes=2), IMAGES, LABELS % 2, **HALF)
    assert found.top5 == 100 and 0 <= found.top1 <= 100
    with pytest.raises(ValueError, match='labels range from 0 to 9: the model has 2 classes'):
        evaluate(plain(classes=2), IMAGES, LABELS, **HALF)


@pytest.mark.slow
def test_compiled_and_wrapped_models_are_measured_as_they_are(net):
    wanted = evaluate(net, IMAGES, LABELS)
    for wrapped in (torch.compile(net, backend='eager'), nn.DataParallel(net)):
        assert np.array_equal(evaluate(wrapped, IMAGES, LABELS).loss, wanted.loss)


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(std=0), 'std: expected finite numbers above 0, one for each channel, got 0'),
        (dict(std=(1, -1, 1)), r'std: expected .*, got \(1, -1, 1\)'),
        (dict(mean=float('nan')), 'mean: expected finite numbers, one for each channel, got nan'),
        (dict(mean=(0.5, 0.5)), 'mean: expected one value, or one for each of 3 channels, got 2'),
    ],
)
def test_wrong_mean_and_std(kwargs, message, net):
    with pytest.raises(ValueError, match=message):
        evaluate(net, IMAGES, LABELS, **kwargs)


def test_model_without_a_classifier():
    with pytest.raises(
        ValueError, match='expected a model with a classifier, got one with num_classes=0, which returns features'
    ):
        evaluate(timm.create_model('zerosnet20', pretrained=True, num_classes=0), IMAGES, LABELS)


class Returns(nn.Module):
    def __init__(self, make):
        super().__init__()
        self.make = make

    def forward(self, x):
        return self.make(x)


@pytest.mark.parametrize(
    'make, message',
    [
        (lambda x: torch.full((len(x), 10), float('nan')), 'the model returns NaN or infinite logits'),
        (lambda x: x.new_tensor([[float('inf')] + [0.0] * 9]).expand(len(x), 10), 'NaN or infinite logits'),
        (
            lambda x: x.new_tensor([3e38] + [-3e38] * 9).expand(len(x), 10),
            r'logits up to 3e\+38: their cross entropy is',
        ),
        (lambda x: x, r'the model returns shape \(12, 3, 32, 32\): expected logits of shape \(12, classes\)'),
        (lambda x: torch.zeros(1, 10), r'shape \(1, 10\): expected logits of shape \(12, classes\)'),
        (lambda x: torch.zeros(len(x)), r'shape \(12,\): expected'),
        (lambda x: (torch.zeros(len(x), 10), x), 'the model returns a tuple: expected logits'),
        (lambda x: {'logits': x}, 'the model returns a dict: expected logits'),
    ],
)
def test_model_that_returns_no_logits(make, message):
    with pytest.raises(ValueError, match=message):
        evaluate(Returns(make), IMAGES, LABELS, **HALF)


def test_logits_whose_probabilities_round_to_the_same():
    logits = torch.arange(10) * 1e-8
    found = evaluate(Returns(lambda x: logits.expand(len(x), 10)), IMAGES, LABELS, **HALF)
    assert_judges(found, logits.expand(len(IMAGES), 10), LABELS)
    assert (found.predicted == 9).all()


def snapshot(net):
    return {name: value.clone() for name, value in net.state_dict().items()}


@pytest.mark.parametrize('labels', [LABELS, LABELS + 5], ids=['measured', 'refused'])
def test_module_is_handed_back_as_it_was(net, labels):
    net.train()
    net.stages[0].eval()  # as for frozen batch norms
    net.stem.requires_grad_(False)
    before, modes = snapshot(net), [module.training for module in net.modules()]
    demands = [(parameter.requires_grad, id(parameter)) for parameter in net.parameters()]
    try:
        found = evaluate(net, IMAGES, labels, perturbation='randn', level=0.1)
        assert np.array_equal(found.loss, evaluate(net.eval(), IMAGES, labels, perturbation='randn', level=0.1).loss)
        net.train()
        net.stages[0].eval()
    except ValueError as error:
        assert 'labels range from 5 to 14' in str(error) and labels is not LABELS
    assert [module.training for module in net.modules()] == modes and True in modes and False in modes
    assert [(parameter.requires_grad, id(parameter)) for parameter in net.parameters()] == demands
    assert all(parameter.grad is None for parameter in net.parameters())
    after = net.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a second device')
def test_module_comes_back_to_its_device(net):
    on_cpu = evaluate(net, IMAGES, LABELS)
    on_cuda = evaluate(net, IMAGES, LABELS, device='cuda')
    assert {tensor.device.type for tensor in net.state_dict().values()} == {'cpu'}
    assert np.allclose(on_cpu.loss, on_cuda.loss, atol=1e-2)


@pytest.mark.parametrize('dtype, tolerance', [(torch.float64, 1e-4), (torch.bfloat16, 0.5)])
def test_module_of_another_precision(dtype, tolerance, net):
    expected = evaluate(net, IMAGES, LABELS)
    found = evaluate(net.to(dtype), IMAGES, LABELS)
    assert found.loss.dtype == np.float32 and np.allclose(found.loss, expected.loss, atol=tolerance)


@pytest.mark.parametrize('crop, same', [(1.0, True), (0.875, False)])
def test_an_image_of_the_models_size_is_untouched_where_its_config_keeps_all_of_it(crop, same):
    net = timm.create_model('zerosnet20', pretrained_cfg_overlay=dict(crop_pct=crop))
    pixels = resize(IMAGES, data_config(net, None, None))
    assert pixels.shape == (12, 3, 32, 32)
    assert np.array_equal(pixels.permute(0, 2, 3, 1).numpy(), IMAGES) == same
