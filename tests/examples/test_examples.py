"""The notebooks run, and show in the repository what they print."""

import json
import os
import re

import pytest
from places import ROOT

NOTEBOOKS = sorted((ROOT / 'examples').glob('*.ipynb'))
RESULTS = {
    'backbone': 'result = accuracy',
    'method': 'result = min(accuracy.values())',
    'noise': 'result = len(found.rows) and report.stat().st_size > 50_000',
}
"""What a notebook has reached at its end; more than chance where it trains."""


def kinds(cells):
    """Which outputs each code cell has; warnings and progress bars on stderr are not shown."""
    return [
        sorted(
            'picture' if 'image/png' in output.get('data', {}) else 'text'
            for output in cell['outputs']
            if output.get('name') != 'stderr'
        )
        for cell in cells
        if cell['cell_type'] == 'code'
    ]


def test_there_are_three():
    assert {path.stem for path in NOTEBOOKS} == RESULTS.keys()


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_outputs_are_whole_and_of_no_machine(path):
    cells = json.loads(path.read_text(encoding='utf-8'))['cells']
    assert any(kinds(cells)) and path.stat().st_size < 200_000
    assert not [output for cell in cells for output in cell.get('outputs', []) if output['output_type'] == 'error']
    text = ''.join(str(output.get('text', '')) for cell in cells for output in cell.get('outputs', []))
    assert not re.search(r'/(tmp|home|root|work|Users)/', text)


@pytest.mark.slow
@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path, tmp_path, monkeypatch):
    nbclient = pytest.importorskip('nbclient')
    nbformat = pytest.importorskip('nbformat')
    pytest.importorskip('ipykernel')
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')]))
    stored, book = (nbformat.read(path, as_version=4) for _ in range(2))
    book.cells.append(nbformat.v4.new_code_cell(f'{RESULTS[path.stem]}\nprint(float(result))'))
    nbclient.NotebookClient(book, timeout=280, resources={'metadata': {'path': str(tmp_path)}}).execute()
    *_, last = book.cells
    assert float(last.outputs[0]['text']) > 0.5
    assert kinds(book.cells[:-1]) == kinds(stored.cells)
