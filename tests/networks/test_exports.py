"""Networks of every kind leave Python: the logits stay, for any batch and size."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from amounts import slow
from kinds import KINDS, VARIED, create, images, is_imagenet, newer_torch, same, settle
from processes import python
from torch.export import Dim

BATCHES = (1, 2, 7, 33)
SCRIPTS = Path(os.environ.get('TIMM_SCRIPTS') or '/none')


def sizes(name):
    """Sizes that eager takes, even and odd, multiples of four and not: an export would take even ones alone."""
    return [(64, 64), (96, 65)] if is_imagenet(name) else [(32, 32), (28, 48), (33, 18)]


def dynamic():
    return {'x': {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC}}


@pytest.fixture(scope='module')
def program(request):
    """A network and its one export, for any batch and size."""
    name = request.param
    model = settle(create(name), name)
    return name, model, torch.export.export(model, (images(name, size=sizes(name)[0]),), dynamic_shapes=dynamic())


@newer_torch
@pytest.mark.slow
@pytest.mark.parametrize('program', VARIED, indirect=True)
def test_torch_export_takes_any_batch_and_size(program):
    name, model, program = program
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    module = torch.export.load(file).module()
    for batch in BATCHES[:3]:
        for size in sizes(name):
            same(module(images(name, batch, size)), model(images(name, batch, size)))


@newer_torch
@pytest.mark.slow
@pytest.mark.parametrize('program', VARIED, indirect=True)
def test_onnx_takes_any_batch_and_size(program, tmp_path):
    onnxruntime = pytest.importorskip('onnxruntime')
    pytest.importorskip('onnxscript')
    name, model, program = program
    torch.onnx.export(program, f=tmp_path / 'model.onnx', dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(tmp_path / 'model.onnx')
    entry = session.get_inputs()[0].name
    for batch in BATCHES:
        for size in sizes(name):
            expected = model(images(name, batch, size)).detach().numpy()
            (found,) = session.run(None, {entry: images(name, batch, size).numpy()})
            assert np.abs(found - expected).max() <= 1e-5 * max(1, np.abs(expected).max())


class Counter:
    """A compiler that changes nothing and counts the graphs it is given."""

    def __init__(self):
        self.graphs = 0

    def __call__(self, module, inputs):
        self.graphs += 1
        return module.forward


@newer_torch
@pytest.mark.slow
@pytest.mark.parametrize('name', ['zerosnet50_tra', 'lmresnet20'])
def test_graphs_do_not_grow_with_batches_modes_or_blocks(name):
    counts = []
    for layers in ((4, 1, 1, 1), (5, 2, 1, 1)):
        torch._dynamo.reset()
        counter = Counter()
        model = settle(create(name, layers=layers if is_imagenet(name) else layers[:3]), name)
        compiled = torch.compile(model, fullgraph=True, backend=counter)
        for _ in range(2):
            for training in (False, True):
                model.train(training)
                for batch in (1, 2, 7) if not training else (2, 7):
                    found = compiled(images(name, batch))
                    if not training:
                        same(found, model(images(name, batch)))
        counts.append(counter.graphs)
    torch._dynamo.reset()
    # torch's own: batch 1, and dynamic from the second on, for each mode
    assert counts[0] == counts[1] <= 6


@pytest.mark.parametrize('backend', ['eager', slow('inductor')])
def test_compiled_network_agrees(backend):
    torch._dynamo.reset()
    model = settle(create('zerosnet20', layers=(4, 1, 1)), 'zerosnet20')
    compiled = torch.compile(model, fullgraph=True, backend=backend)
    with torch.no_grad():
        same(compiled(images('zerosnet20')), model(images('zerosnet20')))
    torch._dynamo.reset()


@pytest.mark.slow
@pytest.mark.parametrize(
    'script, arguments',
    [
        ('benchmark.py', '--device cpu --batch-size 4 --num-warm-iter 1 --num-bench-iter 5 --bench both'),
        ('inference.py', '--data-dir images --device cpu --batch-size 2 --label-type index'),
        ('validate.py', '--data-dir images --device cpu --batch-size 2 --num-classes 10'),
        ('onnx_export.py', 'model.onnx --num-classes 10'),
        ('onnx_export.py', 'model.onnx --num-classes 10 --dynamic-size --reparam'),
    ],
)
@pytest.mark.parametrize('name', ['zerosnet20', 'lmresnet20'])
def test_scripts_of_timm(script, arguments, name, tmp_path):
    if not (SCRIPTS / script).is_file():
        pytest.skip(f'needs TIMM_SCRIPTS, a checkout of timm with {script}')
    from PIL import Image

    for i in range(10):
        folder = tmp_path / 'images' / f'class{i}'
        folder.mkdir(parents=True)
        Image.fromarray(np.full((32, 32, 3), 25 * i, dtype=np.uint8)).save(folder / f'{i}.png')
    words = [*arguments.split(), '--model', name]
    if script in ('inference.py', 'validate.py'):
        words.append('--pretrained')
    done = python(SCRIPTS / script, *words, cwd=tmp_path)
    if script == 'onnx_export.py' and 'OperatorExportTypes' in done.stderr:
        resnet = python(SCRIPTS / script, 'other.onnx', '--model', 'resnet10t', cwd=tmp_path)
        assert 'OperatorExportTypes' in resnet.stderr
        pytest.skip(f"timm's onnx_export does not work with torch {torch.__version__}, for no model")
    assert done.returncode == 0, done.stdout + done.stderr
    if script == 'validate.py':
        assert '"top1"' in done.stdout
    if script == 'onnx_export.py':
        onnxruntime = pytest.importorskip('onnxruntime')
        batch = images('zerosnet20', size=(32, 32)).numpy()
        (found,) = onnxruntime.InferenceSession(tmp_path / 'model.onnx').run(None, {'input0': batch})
        expected = timm.create_model(name, pretrained=True).eval()(torch.from_numpy(batch)).detach().numpy()
        assert np.abs(found - expected).max() < 1e-3


def test_the_varied_kinds_have_every_class_of_step_and_block():
    def classes(names):
        modules = [module for name in names for module in create(name).modules()]
        return {type(module) for module in modules if type(module).__module__.startswith('timm_zerosnet')}

    assert classes(VARIED) == classes(KINDS)
