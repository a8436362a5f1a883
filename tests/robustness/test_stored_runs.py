"""A run folder of an earlier release goes on: no cell is measured again, and the table stays the same to the byte."""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import torch
from places import CIFAR10_SAMPLE
from small_runs import FEW
from torch import nn

from timm_zerosnet.robustness.analysis.run_analysis import compare_run
from timm_zerosnet.robustness.data import LabelledImages, load_labelled
from timm_zerosnet.robustness.models import Source
from timm_zerosnet.robustness.origins import current_versions
from timm_zerosnet.robustness.run import run
from timm_zerosnet.robustness.store import Store, read_run

STORED = Path(CIFAR10_SAMPLE).parent / 'stored_run'
SAMPLE = load_labelled(CIFAR10_SAMPLE)
DATA = LabelledImages(SAMPLE.images[:8], SAMPLE.labels[:8])
CELLS = 1 + 2 + 2 * 2  # of each model


def linear():
    """The module of the stored run: its answers depend on no release of ours, torch or timm."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))
    with torch.no_grad():
        net[1].weight.copy_(torch.arange(30720).view(10, 3072) % 11 / 11 - 0.5)
        net[1].bias.zero_()
    return Source('linear', net, mean=(0.5,) * 3, std=(0.25,) * 3)


@pytest.fixture
def folder(tmp_path):
    return Path(shutil.copytree(STORED, tmp_path / 'run'))


def document(folder):
    with closing(sqlite3.connect(folder / 'cells.sqlite')) as base:
        return json.loads(*base.execute('SELECT document FROM plan').fetchone())


def test_stored_cells_are_not_measured_again(folder):
    outcome = run([linear()], DATA, folder, device='cpu', data_name='eight images', **FEW)
    assert (outcome.measured, outcome.kept, outcome.failed) == (0, CELLS, [])
    assert (folder / 'cells.csv').read_text() == (STORED / 'cells.csv').read_text(), 'the other model stays in it'


def test_the_whole_run_goes_on_where_versions_are_the_same(folder):
    """The key of a network holds how its modules print, which other versions of torch and timm may change."""
    before = document(folder)
    versions = current_versions()
    if any(before['versions'][name] != versions[name] for name in ('torch', 'timm')):
        pytest.skip('stored with other versions of torch or timm')
    models = ['zerosnet20', linear()]
    outcome = run(models, DATA, folder, device='cpu', baseline='zerosnet20', data_name='eight images', **FEW)
    assert (outcome.measured, outcome.kept) == (0, 2 * CELLS)
    assert (folder / 'cells.csv').read_bytes() == (STORED / 'cells.csv').read_bytes()
    after = document(folder)
    assert list(after) == list(before) and after['cells'] == before['cells']
    known = [{key: model[key] for key in old} for old, model in zip(before['models'], after['models'], strict=True)]
    assert known == before['models'], 'only what early versions did not record is new'


def test_a_run_of_an_earlier_version_has_the_same_weights(folder, tmp_path):
    """It does not record what else tells two models of one name from each other."""
    run(['zerosnet20'], DATA, tmp_path / 'new', device='cpu', data_name='eight images', **FEW)
    assert 'function_sha256' not in document(folder)['models'][0]
    assert compare_run(folder, 'zerosnet20', 'zerosnet20', tmp_path / 'new').same_weights


def test_a_stored_plan_is_read_as_it_was_written():
    found = read_run(STORED)
    assert found.plan == document(STORED) and not found.failed and not found.missing
    with closing(Store(STORED)) as store:
        plan = store.plan()
    assert plan.document() == found.plan
    assert [cell.condition for cell in found.cells[:CELLS]] == list(plan.conditions)
    assert plan.conditions[-1] == ('randn', 0.1, 1) and found.cells[0].plan == plan.conditions
