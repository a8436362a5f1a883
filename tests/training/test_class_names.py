"""Which folder counts as which class: the names of a run's classes, in its checkpoint and afterwards."""

import json
import shutil

import pytest
import torch
import yaml
from places import STAND_IN
from small_trainings import LABELS, command, options, read_checkpoint, write_images

from timm_zerosnet import cli, train, validate
from timm_zerosnet.checkpoint import class_names


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A folder with a run that was trained on the folders rose and tulip, and its data."""
    folder = tmp_path_factory.mktemp('trained')
    data = write_images(folder / 'data', classes=2, names=['rose', 'tulip'])
    words = [*options(data, folder, 'flowers', epochs=1), '--num-classes', 2]
    assert train.main([*map(str, command(STAND_IN, *words)[1:])]) == 0
    return folder


@pytest.fixture
def two_classes(trained, tmp_path):
    """A copy of that run, and of its data."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    return tmp_path / 'flowers', tmp_path / 'data'


def test_a_run_keeps_the_names_of_its_classes(two_classes, tmp_path):
    folder, _ = two_classes
    assert yaml.safe_load((folder / 'args.yaml').read_text())['timm_zerosnet']['class_names'] == ['rose', 'tulip']
    assert class_names(folder / 'last.pth.tar') == ('rose', 'tulip')
    shutil.copy(folder / 'last.pth.tar', tmp_path / 'moved.pth.tar')
    assert class_names(tmp_path / 'moved.pth.tar') == ('rose', 'tulip')
    weights = read_checkpoint(folder / 'last.pth.tar')['state_dict']
    for place, names in ((folder, ('rose', 'tulip')), (tmp_path, None)):
        torch.save(weights, place / 'weights.pth')
        assert class_names(place / 'weights.pth') == names


def test_a_class_map_orders_the_names(tmp_path, capsys):
    data = write_images(tmp_path / 'data', classes=2, names=['rose', 'tulip'])
    (tmp_path / 'map.txt').write_text('tulip\nrose\n')
    words = [*options(data, tmp_path, 'mapped', epochs=1), '--num-classes', 2, '--class-map', tmp_path / 'map.txt']
    assert train.main([*map(str, command(STAND_IN, *words)[1:])]) == 0
    assert class_names(tmp_path / 'mapped' / 'last.pth.tar') == ('tulip', 'rose')
    line = ['--timm-scripts', STAND_IN, '--data-dir', data, '--num-classes', 2, '--checkpoint']
    line = [*map(str, [*line, tmp_path / 'mapped' / 'last.pth.tar'])]
    assert validate.main(line) == 2
    assert 'so that rose, tulip would count as other classes: --class-map FILE maps them' in capsys.readouterr().err
    assert validate.main([*line, '--class-map', str(tmp_path / 'map.txt')]) == 0


def test_validate_refuses_folders_in_another_order(two_classes, tmp_path, capsys):
    folder, data = two_classes
    line = ['--timm-scripts', STAND_IN, '--num-classes', 2, '--checkpoint', folder / 'last.pth.tar', '--data-dir']
    assert validate.main([*map(str, [*line, data])]) == 0
    other = write_images(tmp_path / 'other', classes=2, names=['aster', 'rose'])
    assert validate.main([*map(str, [*line, other])]) == 2
    error = capsys.readouterr().err
    assert 'has the classes aster, rose, ' in error and 'was trained on rose, tulip in this order' in error


@pytest.mark.parametrize(
    'names, arguments, said',
    [
        (LABELS, [], False),
        (['plane', *LABELS[1:]], [], True),
        (['airliner', *LABELS[1:]], ['--checkpoint', 'OWN'], False),
        (['plane', *LABELS[1:]], ['--checkpoint', 'NAMELESS'], False),
    ],
)
def test_validate_says_where_folders_are_not_named_like_the_classes(names, arguments, said, finished, tmp_path, capsys):
    """Folders in another order give a good model nearly zero accuracy without a word."""
    write_images(tmp_path, names=names)
    own = read_checkpoint(finished / 'last.pth.tar')
    torch.save({'state_dict': own['state_dict']}, tmp_path / 'nameless.pth')
    places = {'OWN': finished / 'last.pth.tar', 'NAMELESS': tmp_path / 'nameless.pth'}
    arguments = [str(places.get(argument, argument)) for argument in arguments]
    line = ['--timm-scripts', str(STAND_IN), '--model', 'zerosnet20', '--data-dir', str(tmp_path), *arguments]
    assert validate.main(line) == 0
    error = capsys.readouterr().err
    assert ('only one of them has airplane, plane; its folders are taken in the order of their names' in error) == said


def test_predict_and_robustness_know_the_classes_of_a_run(two_classes, tmp_path, capsys):
    folder, data = two_classes
    words = ['--model', 'zerosnet20', '--checkpoint', folder / 'last.pth.tar']
    picture = next((data / 'validation').rglob('*.png'))
    assert cli.main([*map(str, ['predict', picture, *words])]) == 0
    said = capsys.readouterr()
    assert 'rose' in said.out and 'tulip' in said.out and 'class names are those of' not in said.err
    shutil.rmtree(data / 'validation' / 'rose')
    words += ['--data', data, '--corruption', 'const', '--levels', 0.1, '--out', tmp_path / 'out']
    assert cli.main([*map(str, ['robustness', *words])]) == 0
    (model,) = json.loads((tmp_path / 'out' / 'summary.json').read_text())['models']
    assert model['class_mapping'] == {'tulip': 1} and model['mapped_by'] == 'name'
