"""The site builds without a warning, and its pages load nothing from another host."""

import re
import sys

import pytest
from conftest import execute
from places import ROOT

pytest.importorskip('material')
pytest.importorskip('mkdocstrings_handlers.python')


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp('site')
    line = [sys.executable, '-W', 'ignore', '-m', 'mkdocs', 'build', '--strict', '--quiet', '--site-dir', folder]
    done = execute(line, ROOT, NO_MKDOCS_2_WARNING='1')
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.slow
def test_every_document_is_a_page(site):
    names = {path.stem for path in [*(ROOT / 'docs').glob('*.md'), *ROOT.glob('*.md')]} - {'README'}
    assert {path.parent.name for path in site.rglob('index.html')} >= names
    assert 'x[n+1] =' in (site / 'index.html').read_text(encoding='utf-8')


@pytest.mark.slow
def test_pages_load_nothing_from_another_host(site):
    for path in site.rglob('*.html'):
        if 'benchmarks' not in path.parts:
            text = path.read_text(encoding='utf-8')
            assert not re.search(r'<(?:script|img|iframe)[^>]*src=["\']?(?:https?:)?//', text), path
            assert not re.search(r'<link[^>]*rel=["\']?stylesheet[^>]*href=["\']?(?:https?:)?//', text), path
    for path in site.rglob('*.css'):
        assert not re.search(r'(?:url\(|@import )["\']?(?:https?:)?//', path.read_text(encoding='utf-8')), path


@pytest.mark.slow
def test_public_names_are_in_the_api(site):
    text = (site / 'api' / 'index.html').read_text(encoding='utf-8')
    names = ['MultistepMethod', 'methods.METHODS', 'parse_method', 'MultistepResNet', 'ZeroStabilityWarning']
    names += ['weights_overlay', 'demo.load_digits', 'design.design', 'robustness.evaluate', 'robustness.compare']
    names += ['robustness.perturb', 'robustness.Evaluation', 'robustness.suites.SUITES', 'robustness.run.run']
    names += ['robustness.store.read_run', 'robustness.models.Source', 'robustness.data.load_labelled']
    assert all(f'id="timm_zerosnet.{name}"' in text for name in names)
