"""Runs that were made apart are joined, and nothing is joined that does not belong together."""

import json
import shutil
from contextlib import closing
from pathlib import Path

import pytest
import timm
import torch
from amounts import slow_but
from PIL import Image
from places import TESTS
from small_runs import CELLS, DATA, FEW, IMAGES, LABELS, plain, rows

from timm_zerosnet import cli
from timm_zerosnet.robustness.analysis.run_analysis import compare_run
from timm_zerosnet.robustness.data import LabelledImages
from timm_zerosnet.robustness.merge import merge
from timm_zerosnet.robustness.models import Source
from timm_zerosnet.robustness.run import run
from timm_zerosnet.robustness.sharing import Board, Rank
from timm_zerosnet.robustness.store import Store, StoreError, read_run

FIVE = LabelledImages(IMAGES[:5], LABELS[:5])


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    """Runs of two models, apart and together."""
    folder = tmp_path_factory.mktemp('runs')
    run([plain('a')], DATA, folder / 'a', **FEW)
    run([plain('b', lambda logits, x: -logits)], DATA, folder / 'b', **FEW)
    run([plain('a'), plain('b', lambda logits, x: -logits)], DATA, folder / 'both', **FEW)
    return folder


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def test_models_are_united(runs, tmp_path):
    before = content(runs / 'a'), content(runs / 'b')
    found = merge([runs / 'a', runs / 'b'], tmp_path / 'out')
    assert (found.outcome.kept, found.outcome.failed, found.notes) == (2 * CELLS, [], [])
    assert (content(runs / 'a'), content(runs / 'b')) == before
    for name in ('cells.csv', 'table.md', 'summary.json'):
        assert (tmp_path / 'out' / name).read_bytes() == (runs / 'both' / name).read_bytes(), name


def test_several_baselines_are_named(tmp_path):
    for name in ('a', 'b'):
        run([plain(name)], DATA, tmp_path / name, **FEW, baseline=name)
    found = merge([tmp_path / 'b', tmp_path / 'a'], tmp_path / 'out')
    assert found.notes == ['the runs have several baselines (b, a): mCE is relative to b']


def test_a_merged_run_goes_on(runs, tmp_path):
    merge([runs / 'a', runs / 'b'], tmp_path / 'out')
    models = [plain('a'), plain('b', lambda logits, x: -logits), plain('c')]
    outcome = run(models, DATA, tmp_path / 'out', **FEW)
    assert (outcome.measured, outcome.kept) == (CELLS, 2 * CELLS)


def test_conditions_are_united(tmp_path):
    for name, corruption in (('r', 'randn'), ('c', 'const')):
        run([plain('a')], DATA, tmp_path / name, corruptions=[corruption], levels=[0, 0.1], seeds=[0, 1])
    run([plain('a')], DATA, tmp_path / 'both', **FEW)
    merge([tmp_path / 'r', tmp_path / 'c'], tmp_path / 'out')
    for name in ('cells.csv', 'table.md'):
        assert (tmp_path / 'out' / name).read_bytes() == (tmp_path / 'both' / name).read_bytes(), name


def test_cells_that_nobody_has_are_named(runs, tmp_path):
    run([plain('c')], DATA, tmp_path / 'c', corruptions=['const'], levels=[0, 0.1])
    found = merge([runs / 'a', tmp_path / 'c'], tmp_path / 'out')
    (note,) = found.notes
    assert '4 cells are in none of the runs: c, randn 0 seed 0' in note
    assert [row['status'] for row in rows(tmp_path / 'out')].count('missing') == 4


def test_results_before_failures(runs, tmp_path):
    run([plain('a', lambda logits, x: logits[None])], DATA, tmp_path / 'failed', **FEW)
    keys = [{cell['key'] for cell in read_run(folder).plan['cells']} for folder in (runs / 'a', tmp_path / 'failed')]
    if keys[0] != keys[1]:  # other code is another model
        shutil.rmtree(tmp_path / 'failed')
        shutil.copytree(runs / 'a', tmp_path / 'failed')
        with closing(Store(tmp_path / 'failed', write=True)) as store:
            for cell in store.plan().cells:
                stored = store.get(cell.key)
                store.put(cell, type(stored)(None, 'no memory', 0.1, 'cpu'))
    for order in ((runs / 'a', tmp_path / 'failed'), (tmp_path / 'failed', runs / 'a')):
        found = merge(order, tmp_path / f'out of {order[0].name}')
        assert not found.outcome.failed and found.outcome.kept == CELLS


def test_cells_left_as_files_count(runs, tmp_path):
    shutil.copytree(runs / 'b', tmp_path / 'b')
    with closing(Store(tmp_path / 'b', write=True)) as store:
        cell = store.plan().cells[0]
        stored = store.get(cell.key)
        Board(tmp_path / 'b', Rank(1, 2), None).put(cell, stored)
        store._base.execute('DELETE FROM cells WHERE key = ?', [cell.key])
    assert merge([runs / 'a', tmp_path / 'b'], tmp_path / 'out').outcome.kept == 2 * CELLS


OTHER = {
    'data set': dict(data=LabelledImages(IMAGES[::-1].copy(), LABELS), data_name='other'),
    'images': dict(data=LabelledImages(IMAGES, LABELS, total=50)),
    'suite': dict(suite='cifar-c', corruptions=['contrast'], levels=[1]),
    'levels of const': dict(levels=[0, 0.2]),
    'seeds': dict(seeds=[0]),
    'precision': dict(amp=True),
}


@pytest.mark.parametrize('what', slow_but(['images', 'levels of const', 'precision'], OTHER))
def test_what_is_no_part_of_the_run_is_refused(what, runs, tmp_path):
    settings = {'data': DATA, **FEW, **OTHER[what]}
    run([plain('c')], settings.pop('data'), tmp_path / 'other', **settings)
    with pytest.raises(ValueError, match=rf'a and .*other are no parts of one run; .*{what}: .* and '):
        merge([runs / 'a', tmp_path / 'other'], tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_one_name_for_two_models(runs, tmp_path):
    other = plain('a')
    other.module.linear.bias.data += 1
    run([other], DATA, tmp_path / 'other', **FEW)
    with pytest.raises(ValueError, match='a of .*other is not that of .*: their weights_sha256 differ'):
        merge([runs / 'a', tmp_path / 'other'], tmp_path / 'out')


def test_one_name_for_two_networks(tmp_path):
    """The weights are the same, what is made of them is not."""
    net = timm.create_model('multistep_resnet20', method='zerosnet-opt')
    torch.save(net.state_dict(), tmp_path / 'own.pth')
    for method in ('zerosnet-opt', 'zerosnet(-3)'):
        source = Source('multistep_resnet20', checkpoint=tmp_path / 'own.pth', arguments={'method': method})
        run([source], FIVE, tmp_path / method, corruptions=['const'], levels=[0.1])
    with pytest.raises(ValueError, match='multistep_resnet20 of .* is not that of .*: their arguments differ'):
        merge([tmp_path / 'zerosnet-opt', tmp_path / 'zerosnet(-3)'], tmp_path / 'out')


def test_one_name_for_two_modules_of_equal_weights(tmp_path):
    """Also where the two were measured under other noise, so that no cell has two results."""
    for sign, corruption in ((1, 'const'), (-1, 'randn')):
        source = plain('a')
        source.module.sign, source.module.answer = sign, None
        source.module.forward = lambda x, net=source.module: net.sign * net.linear(x.flatten(1))
        run([source], FIVE, tmp_path / corruption, corruptions=[corruption], levels=[0.1])
    with pytest.raises(ValueError, match='a of .* is not that of .*: their function_sha256 differ'):
        merge([tmp_path / 'const', tmp_path / 'randn'], tmp_path / 'out')
    assert not compare_run(tmp_path / 'const', 'a', 'a', tmp_path / 'randn').same_weights


def test_own_weights_are_no_training_of_what_their_name_means(tmp_path):
    """Neither in a merge nor beside a model of an earlier run, as in one command; two names of one weight may join."""
    torch.save(timm.create_model('zerosnet20').state_dict(), tmp_path / 'own.pth')
    own = Source('zerosnet20', checkpoint=tmp_path / 'own.pth')
    few = dict(corruptions=['const'], levels=[0.1])
    run([own], FIVE, tmp_path / 'own', **few)
    for other in ('zerosnet20.cifar10', 'zerosnet20.cifar10_seed1'):
        run([other], FIVE, tmp_path / other, **few)
        with pytest.raises(ValueError, match=f"'zerosnet20' beside '{other}': they would count as a training"):
            merge([tmp_path / 'own', tmp_path / other], tmp_path / 'out')
        with pytest.raises(
            ValueError, match=f"'zerosnet20' beside '{other}': .*of an earlier run: zerosnet20. Another --out"
        ):
            run([other], FIVE, tmp_path / 'own', **few)
        assert read_run(tmp_path / 'own').plan['models'][0]['checkpoint'] == 'own.pth', 'the run is as it was'
    run(['zerosnet20'], FIVE, tmp_path / 'zerosnet20.cifar10', **few)
    assert len(rows(tmp_path / 'zerosnet20.cifar10')) == 4


def test_two_results_of_one_cell(runs, tmp_path):
    shutil.copytree(runs / 'a', tmp_path / 'other')
    with closing(Store(tmp_path / 'other', write=True)) as store:
        cell = store.plan().cells[3]
        stored = store.get(cell.key)
        stored.result.loss[5] += 1
        store.put(cell, stored)
    with pytest.raises(ValueError, match=f'{cell} has other results in .*other than in .*a, though'):
        merge([runs / 'a', tmp_path / 'other'], tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_versions_may_differ_and_are_named(runs, tmp_path):
    shutil.copytree(runs / 'b', tmp_path / 'b')
    with closing(Store(tmp_path / 'b', write=True)) as store:
        for key, origin in store.origins().items():
            document = {'versions': {**origin.versions, 'torch': '2.5.1'}, 'device': 'H200', 'pixels': origin.pixels}
            store._base.execute('UPDATE origins SET document = ? WHERE key = ?', [json.dumps(document), key])
    notes = ' '.join(merge([runs / 'a', tmp_path / 'b'], tmp_path / 'out').notes)
    assert '2.5.1 (7 cells)' in notes and 'H200 (7 cells)' in notes


def test_a_run_of_an_early_version(tmp_path):
    """The stored run joins one of today on the same eight images."""
    stored = TESTS / 'data' / 'stored_run'
    with closing(Store(stored)) as store:
        plan = store.plan()
    shutil.copytree(stored, tmp_path / 'copy')
    found = merge([stored, tmp_path / 'copy'], tmp_path / 'out')
    assert found.outcome.kept == len(plan.cells)
    assert (tmp_path / 'out' / 'cells.csv').read_bytes() == (stored / 'cells.csv').read_bytes()


def test_command(runs, tmp_path, capsys):
    words = ['robustness', 'merge', str(runs / 'a'), str(runs / 'b'), '--out', str(tmp_path / 'out')]
    assert cli.main(words) == 0
    said = capsys.readouterr().out
    assert said.startswith(f'{2 * CELLS} cells\n') and str(tmp_path / 'out' / 'report.html') in said
    assert cli.main(words) == 2
    assert 'expected a new folder, got one that holds something' in capsys.readouterr().err
    (tmp_path / 'file').touch()
    assert cli.main([*words[:-1], str(tmp_path / 'file')]) == 2
    assert 'file: expected a new folder, got a file' in capsys.readouterr().err
    assert cli.main([*words[:3], '--out', str(tmp_path / 'new')]) == 2
    assert 'expected two or more folders of runs' in capsys.readouterr().err
    assert cli.main([*words[:3], str(tmp_path / 'none'), '--out', str(tmp_path / 'new')]) == 2
    assert 'holds no run: cells.sqlite is missing' in capsys.readouterr().err
    assert not (tmp_path / 'new').exists()


def test_no_run(tmp_path):
    (tmp_path / 'a').mkdir()
    with pytest.raises(StoreError, match='holds no run'):
        merge([tmp_path / 'a', Path('none')], tmp_path / 'out')


def test_other_pictures_of_frost(tmp_path):
    """Their cells are no comparison; neither a merge nor a later model joins them."""
    for name, colour in (('blue', (0, 0, 250)), ('grey', (90, 90, 90))):
        (tmp_path / name).mkdir()
        Image.new('RGB', (200, 200), colour).save(tmp_path / name / 'frost.png')
    frost = dict(suite='cifar-c', corruptions=['frost'], levels=[1])
    run([plain('a')], DATA, tmp_path / 'a', frost_pictures=tmp_path / 'blue', **frost)
    run([plain('b')], DATA, tmp_path / 'b', frost_pictures=tmp_path / 'grey', **frost)
    with pytest.raises(ValueError, match='no parts of one run; pictures of frost: '):
        merge([tmp_path / 'a', tmp_path / 'b'], tmp_path / 'out')
    run([plain('b')], DATA, tmp_path / 'a', frost_pictures=tmp_path / 'grey', **frost)
    assert {row['model'] for row in rows(tmp_path / 'a')} == {'b'}


def test_every_run_is_compared_with_every_other(runs, tmp_path):
    """The first run lacks what the second and the third have in common."""
    for name, levels in (('b', [0, 0.1]), ('c', [0, 0.2])):
        run([plain(name)], DATA, tmp_path / name, corruptions=['uniform'], levels=levels, seeds=[0, 1])
    with pytest.raises(
        ValueError, match=r'b and .*c are no parts of one run; levels of uniform: .*0\.1\] and .*0\.2\]'
    ):
        merge([runs / 'a', tmp_path / 'b', tmp_path / 'c'], tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_pictures_of_frost_stay_known_where_the_first_run_has_none(tmp_path):
    for name, colour in (('blue', (0, 0, 250)), ('grey', (90, 90, 90))):
        (tmp_path / name).mkdir()
        Image.new('RGB', (200, 200), colour).save(tmp_path / name / 'frost.png')
        frost = dict(suite='cifar-c', corruptions=['frost'], levels=[1], frost_pictures=tmp_path / name)
        run([plain('a')], DATA, tmp_path / f'{name} run', **frost)
    run([plain('a')], DATA, tmp_path / 'fog', suite='cifar-c', corruptions=['fog'], levels=[1])
    merge([tmp_path / 'fog', tmp_path / 'blue run'], tmp_path / 'out')
    digests = [read_run(tmp_path / name).plan['data'].get('frost_pictures') for name in ('fog', 'blue run', 'out')]
    assert digests[0] is None and digests[2] == digests[1]
    with pytest.raises(ValueError, match='no parts of one run; pictures of frost: '):
        merge([tmp_path / 'out', tmp_path / 'grey run'], tmp_path / 'all')


def test_models_that_do_not_join_are_named(tmp_path, capsys):
    run([plain('a')], DATA, tmp_path, **FEW)
    run([plain('b')], DATA, tmp_path, amp=True, progress=True, **FEW)
    said = capsys.readouterr().err
    assert 'not in these results: a of an earlier run with other precision: amp bfloat16 and of the weights' in said
    assert {row['model'] for row in rows(tmp_path)} == {'b'}
