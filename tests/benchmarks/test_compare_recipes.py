"""The comparison of recipes: runs are stored as they were, and the page is that of the results."""

import re

import compare_recipes
import pytest
import yaml
from records import read_csv

from timm_zerosnet.training.recipes import find_recipe

LOG = 'epoch,train_loss,eval_loss,eval_top1,eval_top5,lr\n'


@pytest.fixture(name='run')
def a_run(tmp_path, monkeypatch):
    """The folder of a training with muon, of two epochs."""
    monkeypatch.setattr(compare_recipes, 'RUNS', tmp_path / 'recipes.csv')
    monkeypatch.setattr(compare_recipes, 'EPOCHS', tmp_path / 'recipes_epochs.csv')
    folder = tmp_path / 'run'
    folder.mkdir()
    short = yaml.safe_load(find_recipe('short').read_text(encoding='utf-8'))
    args = short | {'model': 'zerosnet20', 'data_dir': 'holdout', 'epochs': 2, 'opt': 'muon', 'lr': 0.01, 'amp': True}
    (folder / 'args.yaml').write_text(yaml.safe_dump(args | {'amp_dtype': 'bfloat16'}), encoding='utf-8')
    (folder / 'summary.csv').write_text(f'{LOG}0,1.5,1,40.125,90,0.1\n1,0.75,1,50.5,95,0\n', encoding='utf-8')
    return folder


def test_a_run_is_stored_once(run):
    compare_recipes.add(run, 'muon', 0.5)
    compare_recipes.add(run, 'muon', 0.25)
    compare_recipes.add(run, 'other', 1)
    muon, other = read_csv(compare_recipes.RUNS)
    assert (muon['name'], muon['epochs'], muon['options']) == ('muon', '2', '--opt muon --lr 0.01')
    assert (muon['precision'], muon['hours'], muon['train_loss'], muon['top1']) == (
        'bfloat16',
        '0.25',
        '0.7500',
        '50.50',
    )
    assert [row['top1'] for row in read_csv(compare_recipes.EPOCHS)] == ['40.12', '50.50'] * 2
    assert other['name'] == 'other' and 'nothing' not in compare_recipes.table([muon, other])


def test_the_best_of_the_shortest_runs_is_first():
    row = {'options': '', 'precision': 'float32', 'hours': '1', 'train_loss': '1'}
    rows = [
        row | {'name': 'long', 'epochs': '60', 'top1': '99.00'},
        row | {'name': 'worse', 'epochs': '25', 'top1': '9.00'},
        row | {'name': 'better', 'epochs': '25', 'top1': '90.00'},
    ]
    lines = compare_recipes.table(rows).splitlines()[2:]
    assert [line.split('|')[2].strip() for line in lines] == ['better', 'worse', 'long']


def test_figures_of_the_page_are_those_of_the_table():
    text = compare_recipes.DOCUMENT.read_text(encoding='utf-8').partition('<!-- recipes:end -->')[2]
    prose = re.sub(r'<!-- long:begin -->.*<!-- long:end -->', '', text, flags=re.DOTALL)
    of_weights_not_averaged = {'91.66', '91.76', '92.70'}  # which only the output of the run tells
    found = set(re.findall(r'\b9\d\.\d\d\b', prose)) - of_weights_not_averaged
    assert found and found <= {row['top1'] for row in read_csv(compare_recipes.RUNS)}


def test_long_is_the_best_of_the_table_at_each_length():
    changes = yaml.safe_load(find_recipe('long').read_text(encoding='utf-8'))
    rows = read_csv(compare_recipes.RUNS)
    for epochs in {row['epochs'] for row in rows}:
        best = max((row for row in rows if row['epochs'] == epochs), key=lambda row: float(row['top1']))
        assert best['options'] == compare_recipes.options(changes | {'model': 'zerosnet20'})


@pytest.mark.parametrize(
    'words, message',
    [
        (['--add', 'run', '--name', 'muon'], 'expected --add, --name and --hours together, or none of them'),
        (['--add', 'none', '--name', 'muon', '--hours', '1'], 'expected summary.csv and args.yaml'),
    ],
)
def test_a_run_that_cannot_be_stored_is_refused(run, monkeypatch, capsys, words, message):
    monkeypatch.chdir(run.parent)
    monkeypatch.setattr('sys.argv', ['compare_recipes.py', *words])
    with pytest.raises(SystemExit, match='2'):
        compare_recipes.main()
    assert message in capsys.readouterr().err and not compare_recipes.RUNS.exists()


def test_page_is_that_of_the_results():
    text = compare_recipes.DOCUMENT.read_text(encoding='utf-8')
    assert compare_recipes.document(text) == text
    last = {
        (row['name'], row['epochs']): row['top1'] for row in read_csv(compare_recipes.EPOCHS)
    }  # the last epoch wins
    assert {(row['name'], row['epochs']): row['top1'] for row in read_csv(compare_recipes.RUNS)} == last
