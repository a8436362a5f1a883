"""The benchmark scripts run in small, and what they compare is the same network."""

import csv
import importlib
import subprocess
import sys

import pytest
import torch
from conftest import ROOT

BENCHMARKS = ROOT / 'benchmarks'


def run(script, *words, cwd):
    command = [sys.executable, str(BENCHMARKS / script), *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True)


def rows(path):
    with path.open(newline='', encoding='utf-8') as file:
        return list(csv.DictReader(file))


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module


@pytest.fixture
def networks(script):
    return script('networks')


def test_naive_update_gives_the_same_logits_and_gradients(networks):
    images, found = torch.rand(2, 3, 16, 16), []
    for name in ('zerosnet20', 'zerosnet20:naive'):
        network = networks.build(name)
        logits = network(images)
        logits.square().mean().backward()
        found.append((logits, [parameter.grad for parameter in network.parameters()]))
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    'name, message',
    [
        ('zerosnet20_tra:naive', 'accepted are networks with fixed coefficients'),
        ('authors:20', 'needs --reference DIR'),
    ],
)
def test_networks_that_cannot_be_built(name, message, networks):
    with pytest.raises(ValueError, match=message):
        networks.build(name)


def test_throughput_in_small(tmp_path):
    words = '--models zerosnet20 zerosnet20:naive --modes infer infer-fused train-bf16 --img-size 16 --batch-size 2 4'
    more = '--repeat 3 --warmup 1 --seconds 0.01 --device cpu --csv out.csv --plot out.svg'
    done = run('throughput.py', *words.split(), *more.split(), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = rows(tmp_path / 'out.csv')
    assert len(found) == 2 * 5  # the naive update has no fused mode
    for row in found:
        rate, milliseconds = float(row['samples_per_sec']), float(row['step_time'])
        assert rate * milliseconds == pytest.approx(1000 * int(row['batch_size']), rel=0.01)
        assert float(row['step_time_q1']) <= milliseconds <= float(row['step_time_q3'])
        assert (row['against'], row['img_size']) == (f'zerosnet20 {row["mode"]}', '16')
        assert row['model'] != 'zerosnet20' or row['ratio'] == '1.000'
    costs = {(row['model'], row['mode'], row['batch_size']): float(row['gmacs']) for row in found}
    assert costs['zerosnet20', 'infer', '2'] == costs['zerosnet20', 'infer', '4'] == pytest.approx(0.0413 / 4, rel=0.02)
    assert costs['zerosnet20', 'train-bf16', '2'] > 2 * costs['zerosnet20', 'infer', '2']
    assert '<svg' in (tmp_path / 'out.svg').read_text(encoding='utf-8')


@pytest.mark.parametrize('name', ['exports', 'versions'])
def test_document_is_that_of_the_results(name, script):
    module = script(name)
    assert module.document(rows(module.RESULTS)) == module.DOCUMENT.read_text(encoding='utf-8')


def test_speed_table_is_that_of_the_results(script):
    module = script('speed')
    text = module.DOCUMENT.read_text(encoding='utf-8')
    assert module.document(text) == text
    ratio = 3831.0 / 2903.4  # throughput-depth20.csv, zerosnet20 and authors:20, infer
    assert f"| inference | the authors', float32, eager | {ratio:.2f} x |" in text


def test_startup_in_small(tmp_path):
    done = run('startup.py', '--repeat', '3', '--models', 'zerosnet20', 'resnet18', '--csv', 'out.csv', cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = {row['what']: row for row in rows(tmp_path / 'out.csv')}
    assert list(found)[3:] == ["create_model('zerosnet20', pretrained=True)", "create_model('resnet18')"]
    assert all(float(row['ms']) > 0 for row in found.values())
    assert 0 < float(found['modules of the plugin in it']['ratio']) < 1


def test_memory_in_small(tmp_path):
    words = '--models zerosnet20 zerosnet110 --modes train --batch-size 64 --img-size 32 --repeat 1 --device cpu'
    done = run('memory.py', *words.split(), '--csv', 'out.csv', cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    shallow, deep = rows(tmp_path / 'out.csv')
    assert shallow['ratio'] == '1.000' and 2 < float(deep['ratio']) < 8
