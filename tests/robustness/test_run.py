"""Runs from the command to the files: what is measured, what is kept, what is refused before anything runs."""

import argparse
import json

import numpy as np
import pytest
import timm
import torch
from amounts import slow
from PIL import Image
from small_runs import CELLS, DATA, FEW, IMAGES, LABELS, SAMPLE, Plain, plain, rows
from timm.models import save_for_hf
from torch import nn

from timm_zerosnet import cli
from timm_zerosnet.cifar import CIFAR10_LABELS
from timm_zerosnet.robustness import evaluate
from timm_zerosnet.robustness.data import LabelledImages
from timm_zerosnet.robustness.models import Source, weights_sha256
from timm_zerosnet.robustness.run import run
from timm_zerosnet.robustness.sources import check_called
from timm_zerosnet.robustness.store import read_run


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    path = tmp_path_factory.mktemp('data') / 'images.npz'
    np.savez(path, x_test=IMAGES, y_test=LABELS)
    return path


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp('whole')
    assert run(['zerosnet20'], DATA, out, **FEW).measured == CELLS
    return out


@pytest.fixture
def command(images, tmp_path, capsys):
    """Run ``timm-zerosnet robustness``; returns its code and what it says."""

    def execute(*words, data=images, model=('zerosnet20',)):
        options = ['--corruption', 'const', '--levels', '0.1'] if '--corruption' not in words else []
        words = ['robustness', '--model', *model, '--data', data, '--out', tmp_path / 'out', *options, *words]
        code = cli.main([str(word) for word in words])
        said = capsys.readouterr()
        assert 'Traceback' not in said.err
        return code, said.out, said.err

    return execute


def write_folder(root, classes, images, suffix='.png'):
    for name, pictures in zip(classes, images, strict=True):
        (root / name).mkdir(parents=True)
        for i, picture in enumerate(pictures):
            Image.fromarray(picture).save(root / name / f'{i}{suffix}')
    return root


def by_class(names):
    return [SAMPLE.images[SAMPLE.labels == CIFAR10_LABELS.index(name)][:4] for name in names]


def test_cells_are_those_of_evaluate(whole):
    found = read_run(whole)
    assert len(found.cells) == CELLS and not found.failed and not found.missing
    for cell in found.cells:
        noise = {} if cell.corruption == 'clean' else dict(perturbation=cell.corruption, level=cell.level)
        expected = evaluate('zerosnet20', IMAGES, LABELS, seed=cell.seed or 0, **noise)
        for field, values in vars(expected).items():
            assert np.array_equal(values, getattr(cell.result, field)), (cell.corruption, field)
            assert values.dtype == getattr(cell.result, field).dtype
    assert [(cell.corruption, cell.level, cell.seed) for cell in found.cells] == [
        ('clean', 0, None),
        *(('const', level, None) for level in (0, 0.1)),
        *(('randn', level, seed) for level in (0, 0.1) for seed in (0, 1)),
    ]


def test_level_0_is_clean(whole):
    """Strength zero would not give clean accuracy."""
    clean, *others = read_run(whole).cells
    for cell in others:
        if cell.level == 0:
            assert all(np.array_equal(values, vars(cell.result)[field]) for field, values in vars(clean.result).items())


def test_files(whole):
    table, summary = rows(whole), json.loads((whole / 'summary.json').read_text())
    clean = read_run(whole).cells[0].result
    assert len(table) == CELLS and {row['status'] for row in table} == {'ok'}
    assert table[0]['top1'] == f'{clean.top1:.4f}' and table[0]['loss'] == f'{clean.loss.mean(dtype=float):.6f}'
    assert {row['subset'] for row in table} == {''} and {row['images'] for row in table} == {'40'}
    (model,) = summary['models']
    net = timm.create_model('zerosnet20', pretrained=True)
    assert model['weights_sha256'] == weights_sha256(net.state_dict()) and model['parameters'] == 277402
    assert model['class_mapping'] == {str(label): int(label) for label in set(LABELS)}
    assert summary['seeds'] == [0, 1] and summary['data']['sha256'] == DATA.sha256()
    assert torch.__version__.startswith(summary['versions']['torch'])
    assert summary['cells'] == {'planned': CELLS, 'ok': CELLS, 'failed': 0, 'missing': 0}
    results = rows(whole, 'results/results-zerosnet-randn-0.1.csv')
    header = 'model,top1,top1_err,top5,top5_err,param_count,img_size,crop_pct,interpolation'
    assert ','.join(results[0]) == header
    mean = np.mean([float(row['top1']) for row in table if row['corruption'] == 'randn' and row['level'] == '0.1'])
    assert results[0]['top1'] == f'{mean:.3f}' and results[0]['top1_err'] == f'{100 - mean:.3f}'
    assert results[0]['param_count'] == '0.28' and results[0]['img_size'] == '32'
    assert f'| randn | 0.1 | {mean:.2f} |' in (whole / 'table.md').read_text()
    assert len(rows(whole, 'timings.csv')) == CELLS


@pytest.mark.parametrize('batch_size, workers', [slow(7, 0), (13, 2)])
def test_batches_and_workers_change_nothing(batch_size, workers, whole, tmp_path):
    """Noise or a prediction would depend on the neighbours in the batch."""
    run(['zerosnet20'], DATA, tmp_path, batch_size=batch_size, workers=workers, **FEW)
    for one, other in zip(read_run(whole).cells, read_run(tmp_path).cells, strict=True):
        assert np.array_equal(one.result.predicted, other.result.predicted)
        assert np.array_equal(one.result.correct, other.result.correct)
        assert np.allclose(one.result.loss, other.result.loss, rtol=0, atol=1e-5)


def test_limit_shows_everywhere(whole, command, tmp_path):
    """A part would pass for the whole: the first images of the whole, and marked as a part of it."""
    code, said, _ = command('--limit', '15', '--corruption', 'const', 'randn', '--seeds', '2')
    mark, out = 'first 15 of 40', tmp_path / 'out'
    assert code == 0 and f'a subset: the {mark} images' in said
    assert {row['subset'] for row in rows(out)} == {mark} and {row['images'] for row in rows(out)} == {'15'}
    assert json.loads((out / 'summary.json').read_text())['data']['subset'] == mark
    assert mark in (out / 'table.md').read_text() and mark in (out / 'report.html').read_text()
    assert said.splitlines()[1] == str(out / 'report.html')
    results = list((out / 'results').iterdir())
    assert results and all(path.stem.endswith('-first-15-of-40') for path in results)
    assert all(row['subset'] == mark for path in results for row in rows(path.parent, path.name))
    part = {(cell.corruption, cell.level, cell.seed): cell.result for cell in read_run(out).cells}
    for cell in read_run(whole).cells:
        if cell.level != 0:
            assert np.allclose(cell.result.loss[:15], part[cell.corruption, cell.level, cell.seed].loss, atol=1e-5)
    code, said, _ = command()  # all of them into the same folder: other cells, and no file of the part is left
    assert code == 0 and '2 cells measured' in said and 'subset' not in said
    assert sorted(path.name for path in (out / 'results').iterdir()) == [
        'results-zerosnet-clean.csv',
        'results-zerosnet-const-0.1.csv',
    ]


def test_results_of_others_stay(command, tmp_path):
    """timm's own files have such names, and what this run wrote is only known to it."""
    others = [tmp_path / 'out' / 'results' / f'results-{name}.csv' for name in ('imagenet', 'zerosnet-randn-0.3')]
    others[0].parent.mkdir(parents=True)
    for path in others:
        path.write_text('mine')
    for level in ('0.1', '0.2'):
        assert command('--corruption', 'const', '--levels', level)[0] == 0
        left = {path.name for path in others[0].parent.iterdir()} - {path.name for path in others}
        assert left == {'results-zerosnet-clean.csv', f'results-zerosnet-const-{level}.csv'}
        assert [path.read_text() for path in others] == ['mine'] * 2


def test_pictures_of_a_joined_run_are_those_of_the_model_that_is_named(tmp_path):
    run([plain('a')], DATA, tmp_path, **FEW)
    small = Source('b', timm.create_model('zerosnet20'), preprocessing={'input_size': (24, 24)})
    run([small], DATA, tmp_path, **FEW)
    text = (tmp_path / 'report.html').read_text()
    assert {row['model'] for row in rows(tmp_path)} == {'a', 'b'}
    assert 'The first image of the data set at the input size of b, 24 × 24 pixels' in text


def test_limit_beyond_the_data_is_no_subset(command, tmp_path):
    assert command('--limit', '40')[0] == 0
    assert {row['subset'] for row in rows(tmp_path / 'out')} == {''}


def test_limit_of_a_sorted_folder_says_which_classes_are_gone(command, tmp_path):
    folder = write_folder(tmp_path / 'data', ['cat', 'dog', 'ship'], by_class(['cat', 'dog', 'ship']))
    code, _, error = command('--limit', '6', data=folder)
    assert code == 0 and 'the first 6 of 12 images leave out 1 of 3 classes: ship' in error


def test_labels_that_end_far_below_the_outputs_are_told(command):
    code, _, error = command(model=['zerosnet20', 'zerosnet20.cifar100'])
    assert code == 0 and 'zerosnet20.cifar100 has 100 outputs, and the data have no class names' in error
    assert 'zerosnet20 has 10 outputs' not in error
    assert 'no class names' not in command('--limit', '4', model=['zerosnet20.cifar100'])[2]


def test_own_weights_are_no_training_of_what_their_name_means(tmp_path):
    data = LabelledImages(np.zeros((2, 32, 32, 3), np.uint8), np.arange(2))
    own = Source('zerosnet20', module=timm.create_model('zerosnet20'))
    for other in ('zerosnet20.cifar10', 'zerosnet20.cifar10_seed1'):
        with pytest.raises(ValueError, match=f"got 'zerosnet20' beside '{other}': they would count"):
            run([own, other], data, tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_changed_weights_are_new_cells(command, tmp_path):
    net = timm.create_model('zerosnet20', pretrained=True)
    name = f'local-dir:{tmp_path / "net"}'
    found = []
    for factor, measured, kept in ((1, 2, 0), (1, 0, 2), (0.5, 2, 0), (2, 0, 2)):
        with torch.no_grad():
            net.get_classifier().weight.mul_(factor)
        save_for_hf(net, tmp_path / 'net')
        code, said, _ = command(model=[name])
        assert code == 0 and said.startswith(f'{measured} cells measured{f", {kept} from" if kept else ""}')
        found.append((tmp_path / 'out' / 'cells.csv').read_bytes())
    assert found[0] == found[1] == found[3] != found[2]


def test_the_same_weights_in_another_file_are_the_same_cells(command, tmp_path):
    assert command()[1].startswith('2 cells measured')
    net = timm.create_model('zerosnet20', pretrained=True)
    torch.save({'state_dict': net.state_dict(), 'epoch': 3}, tmp_path / 'own.pth.tar')
    code, said, _ = command('--checkpoint', tmp_path / 'own.pth.tar')
    assert code == 0 and said.startswith('0 cells measured, 2 from an earlier run')
    code, said, _ = command(model=['zerosnet20', 'zerosnet20.cifar10', 'zerosnet20'])
    assert code == 0 and said.startswith('0 cells measured, 2 from') and len(rows(tmp_path / 'out')) == 4


def test_arguments_of_a_model(command, tmp_path):
    """Two networks of the same weights that differ in an argument alone are different cells."""
    net = timm.create_model('multistep_resnet20', method='zerosnet-opt')
    torch.save(net.state_dict(), tmp_path / 'own.pth')
    found = []
    for method in ('zerosnet-opt', 'zerosnet(-3)'):
        words = ['--checkpoint', tmp_path / 'own.pth', '--model-kwargs', f'method={method}']
        code, said, error = command(*words, model=['multistep_resnet20'])
        assert code == 0 and said.startswith('2 cells measured'), error
        found.append((tmp_path / 'out' / 'cells.csv').read_bytes())
        summary = json.loads((tmp_path / 'out' / 'summary.json').read_text())
        assert summary['models'][0]['arguments'] == {'method': method}
        assert summary['models'][0]['checkpoint'] == 'own.pth'
    assert found[0] != found[1]
    code, _, error = command('--checkpoint', tmp_path / 'own.pth', model=['preresnet20'])
    assert code == 2 and 'own.pth: the state dict does not fit preresnet20' in error
    (tmp_path / 'own.pth').write_bytes(b'cut')
    code, _, error = command('--checkpoint', tmp_path / 'own.pth')
    assert code == 2 and 'own.pth (3 bytes) cannot be read as a checkpoint' in error


def test_arguments_that_a_checkpoint_records_are_the_same_cells(command, tmp_path):
    net = timm.create_model('multistep_resnet20', method='zerosnet(-3)', num_classes=10)
    args = argparse.Namespace(model='multistep_resnet20', model_kwargs={'method': 'zerosnet(-3)'})
    torch.save({'args': args, 'state_dict': net.state_dict()}, tmp_path / 'own.pth')
    words = ['--checkpoint', tmp_path / 'own.pth']
    code, said, error = command(*words, model=['multistep_resnet20'])
    assert code == 0 and said.startswith('2 cells measured') and "with --model-kwargs 'method=zerosnet(-3)'" in error
    summary = json.loads((tmp_path / 'out' / 'summary.json').read_text())
    assert summary['models'][0]['arguments'] == {'method': 'zerosnet(-3)'}
    code, said, error = command(*words, '--model-kwargs', 'method=zerosnet(-3)', model=['multistep_resnet20'])
    assert code == 0 and said.startswith('0 cells measured, 2 from') and 'was trained' not in error


def test_a_checkpoint_replaces_a_model_of_its_name_aloud_or_has_one_of_its_own(command, tmp_path):
    net = timm.create_model('zerosnet20', num_classes=10)
    torch.save(net.state_dict(), tmp_path / 'own.pth')
    own, replaced = ['--checkpoint', tmp_path / 'own.pth'], 'not in these results: zerosnet20 of an earlier run'

    def results():
        found = json.loads((tmp_path / 'out' / 'summary.json').read_text())['models']
        return {model['name']: model['checkpoint'] for model in found}

    assert replaced not in command()[2]
    code, said, error = command(*own, '--name', 'mine')
    assert code == 0 and said.startswith('2 cells measured') and replaced not in error
    assert results() == {'zerosnet20': None, 'mine': 'own.pth'}
    code, said, error = command(*own)
    assert code == 0 and f'{replaced} with other weights; another --name keeps both' in error
    assert results() == {'mine': 'own.pth', 'zerosnet20': 'own.pth'}
    code, said, error = command('--levels', '0.2')
    assert code == 0 and 'not in these results: mine, zerosnet20 of an earlier run with other levels of' in error
    for words, option in ((own, 'checkpoint'), (('--name', 'mine'), 'name')):
        code, _, error = command(*words, model=['zerosnet20', 'zerosnet32'])
        assert code == 2 and f'expected one --model beside --{option}, got 2: zerosnet20, zerosnet32' in error


@pytest.mark.parametrize(
    'name, means',
    [
        ('resnet18', 'network'),
        ('zerosnet32', 'network'),
        ('zerosnet32.mine', 'network'),
        ('zerosnet32_seed1', 'network'),
        ('hf-hub:timm/zerosnet20', 'network'),
        ('zerosnet20.cifar100', 'weights'),
        ('zerosnet20.cifar10_seed1', 'weights'),
    ],
)
def test_a_name_that_means_something_else_is_refused(command, name, means):
    code, _, error = command('--name', name)
    assert code == 2 and f'expected a name for the results that means no other {means}, got {name!r}' in error


def test_no_name_is_refused(command):
    assert command('--name', '')[0] == 2


@pytest.mark.parametrize('model', ['zerosnet20', 'zerosnet20.cifar10'])
@pytest.mark.parametrize('name', ['zerosnet20', 'zerosnet20.cifar10', 'zerosnet20.mine_seed1'])
def test_a_name_may_be_of_the_network_itself(model, name):
    check_called(Source(model, called=name))
    net = timm.create_model(model)
    check_called(Source('mine', net, called='zerosnet20.mine'))
    check_called(Source('mine', nn.Linear(2, 2), called='zerosnet20'))  # it does not say what it is
    with pytest.raises(ValueError, match="means no other weights, got 'zerosnet20.cifar10'"):
        check_called(Source('mine', net, called='zerosnet20.cifar10'))
    with pytest.raises(ValueError, match="means no other network, got 'resnet18'"):
        check_called(Source('mine', net, called='resnet18'))


def test_names_that_differ_in_the_seed_are_of_one_network(command, tmp_path):
    """In one run, in a folder, and beside a network that needs no name for it."""
    nets = [Source(f'mine_seed{i}', timm.create_model(name)) for i, name in enumerate(('zerosnet20', 'zerosnet32'))]
    with pytest.raises(ValueError, match="'mine_seed0' of zerosnet20 with .* beside 'mine_seed1' of zerosnet32 with"):
        run(nets, DATA, tmp_path / 'new', **FEW)
    assert command('--name', 'mine')[0] == 0
    code, _, error = command('--name', 'mine_seed1', model=['zerosnet32'])
    assert code == 2 and 'expected trainings of one network' in error and 'of an earlier run: mine' in error
    assert command('--name', 'mine_seed1', model=['zerosnet20.cifar10_seed1'])[0] == 0


def test_a_baseline_may_be_of_an_earlier_run_in_the_folder(command, tmp_path):
    assert command('--name', 'before')[0] == 0
    code, _, error = command('--name', 'after', '--baseline', 'before', model=['zerosnet32'])
    assert code == 0, error
    assert json.loads((tmp_path / 'out' / 'summary.json').read_text())['baseline'] == 'before'
    code, _, error = command('--name', 'after', '--baseline', 'before', '--levels', '0.2', model=['zerosnet32'])
    assert code == 2 and 'before' in error and 'checking models' not in error
    assert command('--name', 'after', '--baseline', 'nowhere', model=['zerosnet32'])[0] == 2


def test_a_random_classifier_is_not_measured(command, tmp_path):
    for words in (['--num-classes', '12'], ['--model-kwargs', 'num_classes=12']):
        code, _, error = command(*words)
        assert (
            code == 2
            and 'expected num_classes=10, as its weights have, or a checkpoint of yours, got num_classes=12' in error
        )
    assert command('--num-classes', '10')[0] == 0
    torch.save(timm.create_model('zerosnet20', num_classes=12).state_dict(), tmp_path / 'own.pth')
    assert command('--num-classes', '12', '--checkpoint', tmp_path / 'own.pth')[0] == 0


@pytest.mark.slow
def test_other_settings_are_new_cells(command):
    assert command()[1].startswith('2 cells measured')
    for words in (['--mean', '0.5', '--std', '0.25'], ['--crop-pct', '0.9'], ['--amp', '--device', 'cpu']):
        assert command(*words)[1].startswith('2 cells measured'), words
    assert command('--batch-size', '13')[1].startswith('0 cells measured, 2 from')
    code, said, _ = command('--suite', 'cifar-c', '--corruption', 'contrast', '--levels', '3')
    assert code == 0 and said.startswith('1 cell measured, 1 from')  # clean images are the same in all suites


def test_a_model_that_fails_fails_alone(tmp_path):
    """A cell is marked with its reason and tried again; the others go on."""
    strange = {
        'nan': (lambda logits, x: torch.where(x.mean() > 0.3, torch.nan, logits), 'returns NaN or infinite logits'),
        'wide': (lambda logits, x: logits[None], r'returns shape (1, 40, 10): expected logits of shape (40,'),
        'broken': (lambda logits, x: logits @ logits, 'RuntimeError: mat1 and mat2 shapes cannot be multiplied'),
        'narrow': (lambda logits, x: logits[:, :3], 'labels range from 0 to 9: the model has 3 classes'),
    }
    sources = [plain(name, answer) for name, (answer, _) in strange.items()] + [plain('good')]
    settings = dict(corruptions=['const'], levels=[-0.2, 0.3])
    for _ in range(2):
        outcome = run(sources, DATA, tmp_path, **settings)
        assert len(outcome.failed) == 1 + 3 * 3 and outcome.failed[0].startswith(
            'nan, const 0.3: the model returns NaN'
        )
        table = rows(tmp_path)
        for row in table:
            expected = row['model'] != 'good' and (row['model'] != 'nan' or row['level'] == '0.3')
            assert (row['status'] == 'failed') == expected == bool(row['error']) == (row['top1'] == '')
            assert not expected or strange[row['model']][1] in row['error']
        text = (tmp_path / 'table.md').read_text()
        assert text.count('| failed |') + text.count('failed | failed') >= 3 and '10 of 15 cells failed' in text
        assert [row['model'] for row in rows(tmp_path, 'results/results-zerosnet-const-0.3.csv')] == ['good']
    assert (outcome.measured, outcome.kept) == (0, 5)
    page = (tmp_path / 'report.html').read_text()
    assert 'title="nan, const 0.3:' not in page and 'title="good, const 0.3:' in page, 'as in the other tables'
    mended = [plain(source.name) for source in sources]
    outcome = run(mended, DATA, tmp_path, **settings)
    assert not outcome.failed and (outcome.measured, outcome.kept) == (10, 5)


def test_a_failed_cell_is_not_success(command, monkeypatch):
    monkeypatch.setattr(Source, 'open', lambda self: Plain(lambda logits, x: logits * torch.inf))
    code, said, error = command('--mean', '0.5', '0.5', '0.5', '--std', '0.5', '0.5', '0.5')
    assert (
        code == 1
        and '2 cells failed' in error
        and 'zerosnet20, 2 cells (clean, const 0.1): the model returns NaN' in error
    )


def test_a_module_is_handed_back_as_it_was(tmp_path):
    module = Plain()
    module.linear.eval()
    run([Source('own', module, mean=(0.5,) * 3, std=(0.5,) * 3)], DATA, tmp_path, **FEW)
    assert module.training and not module.linear.training


def test_two_classes(command, tmp_path):
    """Top-5 and calibration of fewer than five classes would fail."""
    net = timm.create_model('zerosnet20', num_classes=2)
    torch.save({'state_dict': net.state_dict()}, tmp_path / 'two.pth')
    folder = write_folder(tmp_path / 'data', ['no', 'yes'], by_class(['cat', 'dog']))
    code, _, error = command('--checkpoint', tmp_path / 'two.pth', data=folder)
    assert code == 0, error
    assert {row['top5'] for row in rows(tmp_path / 'out')} == {'100.0000'}


def test_grey_images_and_a_grey_model(command, tmp_path):
    """Grey images become colour in the loader although the model takes one channel."""
    grey = [
        np.stack([np.asarray(Image.fromarray(i).convert('L').resize((28, 28))) for i in p])
        for p in by_class('cat dog'.split())
    ]
    folder = write_folder(tmp_path / 'data', ['cat', 'dog'], grey)
    Image.fromarray(IMAGES[0]).convert('RGBA').save(folder / 'cat' / 'rgba.png')
    net = timm.create_model('zerosnet20', in_chans=1)
    torch.save(net.state_dict(), tmp_path / 'grey.pth')
    for words in (['--in-chans', '1'], ['--checkpoint', tmp_path / 'grey.pth']):
        code, _, error = command(*words, data=folder)
        assert code == 0, error
        summary = json.loads((tmp_path / 'out' / 'summary.json').read_text())
        assert summary['models'][0]['preprocessing']['input_size'] == [1, 32, 32]
    code, _, error = command('--in-chans', '4', data=folder)
    assert code == 2 and 'zerosnet20: expected 1 input channel, for grey pictures, or 3, for colour, got 4' in error


def test_classes_are_mapped_by_name(command, tmp_path):
    """Folders taken in their own order give a good model nearly zero accuracy: in another order, and a part of them."""
    names = ['truck', 'airplane', 'dog']
    folder = write_folder(tmp_path / 'data', names, by_class(names))
    assert command(data=folder)[0] == 0
    assert float(rows(tmp_path / 'out')[0]['top1']) > 70
    mapping = json.loads((tmp_path / 'out' / 'summary.json').read_text())['models'][0]['class_mapping']
    assert mapping == {'airplane': 0, 'dog': 5, 'truck': 9}


def test_a_class_map_is_the_way_out(command, tmp_path):
    folder = write_folder(tmp_path / 'data', ['hound', 'lorry'], by_class(['dog', 'truck']))
    code, _, error = command(data=folder)
    assert code == 2 and '2 class folders, the model 10 classes' in error and '--class-map FILE' in error
    maps = {'map.json': json.dumps({'hound': 5, 'lorry': 9, 'cat': 3}), 'map.txt': '\n' * 5 + 'hound\n\n\n\nlorry\n'}
    for name, text in maps.items():
        (tmp_path / name).write_text(text)
        assert command('--class-map', tmp_path / name, data=folder)[0] == 0
        assert float(rows(tmp_path / 'out')[0]['top1']) > 70
    for text, message in (
        ('{"Hound": 5}', 'lacks hound, lorry of the data set (did you mean hound by Hound?)'),
        (
            '{"hound": 5, "lorry": 10}',
            'the class map has labels from 5 to 10: expected labels from 0 to 9, as the model has 10 classes',
        ),
        ('{"hound": 5, "lorry": 9, "hound": 3}', 'it has hound more than once'),
        ('{"hound": "dog"}', 'is no class map: expected JSON'),
        ('{', 'is not a readable class map'),
    ):
        (tmp_path / 'map.json').write_text(text)
        code, _, error = command('--class-map', tmp_path / 'map.json', data=folder)
        assert code == 2 and message in error
    (tmp_path / 'map.txt').write_text('hound\nlorry\nhound\n')
    code, _, error = command('--class-map', tmp_path / 'map.txt', data=folder)
    assert code == 2 and 'it has hound more than once' in error


def test_labels_beyond_the_classes(command, tmp_path):
    np.savez(tmp_path / 'many.npz', x_test=IMAGES, y_test=LABELS + 1)
    code, _, error = command(data=tmp_path / 'many.npz')
    assert (
        code == 2
        and 'labels from 1 to 10: expected labels from 0 to 9, as the model has 10 classes; --class-map' in error
    )


def test_broken_images_are_named_before_a_model_runs(command, tmp_path, monkeypatch):
    """A damaged image would stop the run after hours, and the message not name it."""
    folder = write_folder(tmp_path / 'data', ['cat', 'dog'], by_class(['cat', 'dog']))
    (folder / 'cat' / 'text.png').write_text('no image')
    (folder / 'dog' / 'empty.jpg').touch()
    (folder / 'dog' / 'folder.jpg').mkdir()
    monkeypatch.setattr('timm_zerosnet.robustness.run.measure_cells', lambda *args: pytest.fail('a model runs'))
    code, _, error = command(data=folder)
    assert code == 2 and '3 of 11 images cannot be read:' in error
    assert all(name in error for name in ('text.png', 'empty.jpg', 'folder.jpg'))


@pytest.mark.parametrize(
    'words, message',
    [
        (['--model', 'zerosnet21'], "knows no model 'zerosnet21'; the nearest are zerosnet"),
        (['--model', 'zerosnet20.cifar11'], 'zerosnet20.cifar11'),
        (['--model', 'preresnet32'], 'there are no weights for preresnet32'),
        (
            ['--model', 'zerosnet20', 'zerosnet20_tra', '--checkpoint', 'x.pth'],
            'expected one --model beside --checkpoint, got 2: zerosnet20, zerosnet20_tra',
        ),
        (['--checkpoint', 'none.pth'], 'none.pth does not exist'),
        (['--suite', 'zerosnets'], "unknown suite 'zerosnets': did you mean zerosnet"),
        (['--corruption', 'Randn'], "unknown perturbation 'Randn' of suite 'zerosnet': did you mean randn"),
        (['--corruption', 'contrast'], 'it is in suite cifar-c and imagenet-c'),
        (
            ['--corruption', 'randn', '--levels', '-0.1'],
            'randn level: expected a number from 0 to 1, as pixels lie in [0, 1], got -0.1',
        ),
        (['--levels', 'nan'], 'const level: expected a number from -1 to 1, as pixels lie in [0, 1], got nan'),
        (['--levels', 'inf'], 'const level: expected a number from -1 to 1, as pixels lie in [0, 1], got inf'),
        (
            ['--suite', 'cifar-c', '--corruption', 'contrast', '--levels', '6'],
            'contrast severity: expected an integer from 0 (clean) to 5, got 6',
        ),
        (['--suite', 'imagenet-c', '--corruption', 'contrast'], 'suite imagenet-c is for 64 px and more; take suite'),
        (['--seeds', '0'], 'expected --seeds >= 1, got 0'),
        (['--seeds', '-1'], 'expected --seeds >= 1, got -1'),
        (['--device', 'cuda:99'], "device 'cuda:99' cannot be used"),
        (['--device', 'gpu'], "device 'gpu' cannot be used"),
        (['--batch-size', '0'], 'batch_size: expected an integer >= 1, got 0'),
        (['--workers', '-1'], 'workers: expected an integer >= 0, got -1'),
        (['--limit', '0'], 'limit: expected an integer >= 1, got 0'),
        (['--data', 'none'], 'none is neither an npz file nor a folder'),
        (['--data', 'torch/cifar10'], 'torch/cifar10 needs --data-dir'),
        (['--data', 'torch/none', '--data-dir', '.'], 'torch/none, split validation, cannot be opened: Unknown'),
        (['--data', 'torch/mnist'], 'torch/mnist needs --data-dir, the folder that holds it'),
        (['--out', '/dev/null/x'], '/dev/null'),
        (['--mean', '0.1', '0.2', '--std', '1'], 'mean: expected one value, or one for each of 3 channels, got 2'),
        (['--img-size', '0'], '--img-size 0'),
        (['--crop-pct', 'nan'], '--crop-pct nan'),
        (['--model-kwargs', 'colour=red'], 'model zerosnet20 cannot be made: TypeError'),
    ],
)
def test_bad_input_is_refused_before_anything_is_measured(words, message, command, tmp_path):
    code, _, error = command(*words)
    assert code == 2 and message in error, error
    assert not list(tmp_path.rglob('*.csv'))


def test_names_with_markup(tmp_path):
    name = '<script>alert("1")</script>|`x`'
    run([plain(name)], DATA, tmp_path, data_name='<b>|data', corruptions=['const'], levels=[0.1])
    text = (tmp_path / 'table.md').read_text()
    assert '<script>' not in text and '<b>' not in text and '&lt;script&gt;' in text
    assert (
        next(line for line in text.splitlines() if '| corruption' in line)
        == r'| corruption | level | &lt;script&gt;alert("1")&lt;/script&gt;\|\`x\` |'
    )
    assert {row['model'] for row in rows(tmp_path)} == {name}


def test_models_share_no_name(tmp_path):
    with pytest.raises(ValueError, match="expected a name for each model, got 'own' for two different ones"):
        run([plain('own'), plain('own')], DATA, tmp_path, **FEW)
    with pytest.raises(ValueError, match='models: expected at least one name or source'):
        run([], DATA, tmp_path, **FEW)


@pytest.mark.parametrize('name, count', [('cifar10', 10), ('cifar100', 100)])
def test_torchvision(name, count, command, tmp_path, monkeypatch):
    import pickle

    import torchvision

    kind = getattr(torchvision.datasets, name.upper())
    folder = tmp_path / 'root' / kind.base_folder
    folder.mkdir(parents=True)
    pixels = IMAGES[:20].transpose(0, 3, 1, 2).reshape(20, -1)
    labels = LABELS[:20].tolist()
    (file,) = [entry[0] for entry in kind.test_list]
    (folder / file).write_bytes(pickle.dumps({'data': pixels, 'labels' if count == 10 else 'fine_labels': labels}))
    names = list(CIFAR10_LABELS) if count == 10 else [f'class{i:02}' for i in range(100)]
    (folder / kind.meta['filename']).write_bytes(pickle.dumps({kind.meta['key']: names}))
    words = ['--data-dir', str(tmp_path / 'root')]
    code, _, error = command(*words, data=f'torch/{name}')
    assert code == 2 and '--download fetches it' in error  # the sums of these files are wrong
    monkeypatch.setattr(torchvision.datasets.cifar, 'check_integrity', lambda *_: True)
    code, _, error = command(*words, data=f'torch/{name}')
    if count == 10:
        assert code == 0 and float(rows(tmp_path / 'out')[0]['top1']) > 70
        assert json.loads((tmp_path / 'out' / 'summary.json').read_text())['data']['name'] == 'torch/cifar10'
    else:
        assert code == 2 and '100 class folders, the model 10 classes' in error
