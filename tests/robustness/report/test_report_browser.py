"""The report in a browser without network: it requests nothing, draws everything, and nothing overflows."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess

import pytest
from amounts import slow_but
from made_reports import page
from PIL import Image

NAMES = ('chromium', 'chromium-browser', 'chromium-headless-shell', 'google-chrome', 'chrome')
BROWSER = os.environ.get('CHROMIUM') or next(filter(None, map(shutil.which, NAMES)), None)
LOOKED_AT = ['one model', 'twelve models', 'imagenet-c', 'a model failed', 'nothing', 'twenty models']

pytestmark = [pytest.mark.browser, pytest.mark.skipif(BROWSER is None, reason='no Chromium here; CHROMIUM names one')]

# the policy of the page allows no other script than its own, so it is measured in a frame from outside
FRAME = """<!DOCTYPE html><meta charset="utf-8"><style>iframe {{ width: {width}px; height: 900px; border: 0 }}</style>
<body><iframe id="frame" srcdoc="{page}"></iframe>
<pre id="found"></pre><script>
window.onload = () => {{
  const inner = document.getElementById('frame').contentDocument, root = inner.documentElement
  inner.querySelectorAll('details').forEach(e => {{ e.open = true }})
  const boxes = [...inner.querySelectorAll('svg:not(.markers)')].map(e => e.getBoundingClientRect())
  document.getElementById('found').textContent = JSON.stringify({{
    width: root.clientWidth,
    needed: root.scrollWidth,
    sections: inner.querySelectorAll('section').length,
    images: inner.images.length,
    decoded: [...inner.images].filter(i => i.complete && i.naturalWidth > 0).length,
    square: [...inner.images].every(i => Math.abs(i.width / i.height - i.naturalWidth / i.naturalHeight) < 0.05),
    drawings: boxes.length,
    empty: boxes.filter(b => b.width < 5 || b.height < 5).length,
    outside: [...inner.querySelectorAll('h1, h2, p, li, figure, dd, fieldset')].filter(
      e => !e.closest('.scroll') && e.getBoundingClientRect().right > root.clientWidth + 1).length,
    sideways: [...inner.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth + 1).length,
  }})
}}
</script></body>
"""


def requested_by_the_page(net_log):
    """The addresses that a page requested; requests of the browser itself have no origin as their initiator."""
    begun = [event.get('params', {}) for event in json.loads(net_log)['events']]
    return {of['url'] for of in begun if of.get('initiator', 'not an origin') != 'not an origin'}


def chromium(path, folder, *options):
    """Load a page; returns the output, the console messages and the addresses that the page requested."""
    log = folder / 'net.json'
    words = [
        BROWSER,
        '--headless',
        '--no-sandbox',
        '--disable-gpu',
        '--no-first-run',
        '--disable-background-networking',
    ]
    words += [
        '--disable-component-update',
        '--host-resolver-rules=MAP * ~NOTFOUND',
        f'--user-data-dir={folder / "user"}',
    ]
    words += ['--enable-logging=stderr', f'--log-net-log={log}', '--hide-scrollbars', *options, path.as_uri()]
    found = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True)
    console = [line for line in found.stderr.splitlines() if 'CONSOLE' in line]
    return found.stdout, console, requested_by_the_page(log.read_text())


@pytest.mark.parametrize('case', slow_but(['imagenet-c'], LOOKED_AT))
def test_nothing_is_asked_for(case, tmp_path):
    path = tmp_path / 'report.html'
    path.write_text(page(case), encoding='utf-8')
    dom, console, asked = chromium(path, tmp_path, '--dump-dom')
    assert '</section>' in dom and console == [] and asked == set()


@pytest.mark.parametrize(
    'asking',
    [
        '<img src="{}">',
        '<link rel="stylesheet" href="{}">',
        '<style>@font-face {{ font-family: a; src: url({}) }} p {{ font-family: a }}</style><p>text</p>',
        '<script src="{}"></script>',
        '<iframe src="{}"></iframe>',
        '<script>fetch("{}").catch(() => 0)</script>',
    ],
)
def test_a_page_that_asks_is_seen(asking, tmp_path):
    path, address = tmp_path / 'page.html', 'http://example.org/'
    path.write_text(f'<!DOCTYPE html><title>asks</title>{asking.format(address)}', encoding='utf-8')
    assert chromium(path, tmp_path, '--dump-dom')[2] == {address}


@pytest.mark.parametrize(
    'case, width',
    slow_but(
        [('imagenet-c', 400), ('twenty models', 1280)], [(case, width) for case in LOOKED_AT for width in (400, 1280)]
    ),
)
def test_everything_is_drawn_and_fits(case, width, tmp_path):
    text, path = page(case), tmp_path / 'frame.html'
    path.write_text(FRAME.format(page=html.escape(text), width=width), encoding='utf-8')
    dom, console, _ = chromium(path, tmp_path, '--dump-dom', '--window-size=1400,1000')
    found = json.loads(html.unescape(re.search(r'<pre id="found">(.*?)</pre>', dom, re.DOTALL)[1]))
    assert console == [] and found['width'] == width
    assert found['needed'] <= width and found['outside'] == 0 and found['sideways'] == 0
    assert found['sections'] == text.count('<section') and found['drawings'] == text.count('<svg') - text.count(
        '<svg class="markers"'
    )
    assert found['images'] == found['decoded'] == text.count('<img') and found['square'] and found['empty'] == 0


CHOOSING = """<!DOCTYPE html><meta charset="utf-8">
<iframe id="frame" style="width: 1280px; height: 900px" srcdoc="{page}"></iframe>
<pre id="found"></pre><script>
window.onload = () => {{
  const inner = document.getElementById('frame').contentDocument, steps = []
  const boxes = [...inner.querySelectorAll('.chooser input')], [first, none] = inner.querySelectorAll('.chooser button')
  const stroke = m => inner.defaultView.getComputedStyle(inner.querySelector(`.curve [data-m="${{m}}"] .line`)).stroke
  const look = () => {{ inner.activeElement.blur(); steps.push({{
    checked: boxes.filter(b => b.checked).map(b => Number(b.value)),
    disabled: boxes.filter(b => b.disabled).length,
    slots: Object.fromEntries([...inner.querySelectorAll('.key[data-s]')].map(e => [e.dataset.m, Number(e.dataset.s)])),
    lines: inner.querySelectorAll('.curve [data-s]').length / inner.querySelectorAll('.curve').length,
    top: inner.querySelector('.curve > g').lastElementChild.dataset.m,
    colours: new Set(boxes.map(b => stroke(b.value))).size,
    said: inner.getElementById('chosen').textContent,
    reached: boxes.filter(b => {{ b.focus(); return inner.activeElement === b }}).length,
  }}) }}
  look()
  boxes[2].click(); look()
  boxes[19].click(); look()
  boxes[18].click(); look()
  none.click(); look()
  first.click(); look()
  document.getElementById('found').textContent = JSON.stringify(steps)
}}
</script>"""


def test_the_reader_chooses_eight_curves(tmp_path):
    path = tmp_path / 'frame.html'
    path.write_text(CHOOSING.format(page=html.escape(page('twenty models'))), encoding='utf-8')
    dom, console, _ = chromium(path, tmp_path, '--dump-dom', '--window-size=1400,1000')
    steps = json.loads(html.unescape(re.search(r'<pre id="found">(.*?)</pre>', dom, re.DOTALL)[1]))
    assert console == []
    begun, fewer, other, ninth, none, again = steps
    assert begun['checked'] == list(range(8)) and begun['slots'] == {str(i): i for i in range(8)}
    assert begun['disabled'] == 12 and begun['said'] == '8 of 20 in colour: untick one to choose another'
    assert fewer['checked'] == [0, 1, 3, 4, 5, 6, 7] and fewer['disabled'] == 0 and fewer['said'] == '7 of 20 in colour'
    assert other['slots'] == {**{str(i): i for i in (0, 1, 3, 4, 5, 6, 7)}, '19': 2} and other['top'] == '19'
    assert ninth['checked'] == other['checked'] and ninth['slots'] == other['slots']
    assert none['checked'] == [] and none['slots'] == {} and none['colours'] == 1
    assert again['slots'] == begun['slots']
    for step in steps:
        assert step['lines'] == len(step['checked']) == len(step['slots'])
        assert step['colours'] == len(step['checked']) + 1  # and grey
        assert step['reached'] == 20 - step['disabled']


@pytest.mark.parametrize('scheme, ground', [('light', 'bright'), ('dark', 'dark')])
def test_light_and_dark(scheme, ground, tmp_path):
    """The background follows the colour scheme, and text and lines stand out from it in both."""
    path, picture = tmp_path / 'report.html', tmp_path / 'page.png'
    path.write_text(page('three models'), encoding='utf-8')
    setting = f'--blink-settings=preferredColorScheme={int(scheme == "light")}'
    chromium(path, tmp_path, f'--screenshot={picture}', '--window-size=1000,2400', setting)
    with Image.open(picture) as image:
        grey = image.convert('L').histogram()
    dark, bright = sum(grey[:64]) / sum(grey), sum(grey[192:]) / sum(grey)
    assert (bright > 0.7, dark > 0.7) == (ground == 'bright', ground == 'dark')
    assert min(dark, bright) > 0.005
