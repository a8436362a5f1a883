"""Our tests and timm's own against the oldest and newest timm and torch; writes results/versions.csv, docs/versions.md.

    python benchmarks/versions.py                    all pairs, each in a virtual environment of its own
    python benchmarks/versions.py --only timm-1.0.28

Environments are kept in ``--environments`` (several GB each), so that a second run only tests.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from records import markdown, read_csv, write_csv

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).parent / 'results' / 'versions.csv'
DOCUMENT = ROOT / 'docs' / 'versions.md'
PAIRS = {  # empty is the newest
    'timm-1.0.27': ('timm==1.0.27',),
    'timm-1.0.28': ('timm==1.0.28',),
    'oldest': ('timm==1.0.27', 'torch==2.5.1', 'torchvision==0.20.1'),
    'torch-2.5.1': ('torch==2.5.1', 'torchvision==0.20.1'),
    'newest': (),
}
OURS = (
    'contract evaluation every_name forms fuse golden networks perturbations steps timm_imports weights wrong_weights'
)
COLUMNS = ('timm', 'torch', 'tests', 'passed', 'skipped', 'failed', 'seconds')
HEAD = """# Versions

timm 1.0.27 and torch 2.5 are the oldest supported. `python benchmarks/versions.py` runs, against each pair, the
tests of the networks, weights and evaluation (every registered name is built, run and trained for one step),
and timm's own `tests/test_models.py` on our names.

"""


def environment(folder: Path, pins: tuple[str, ...]) -> Path:
    """The Python of a virtual environment with this checkout and the pins."""
    python = folder / 'bin' / 'python'
    if not python.is_file():
        subprocess.run([sys.executable, '-m', 'venv', folder], check=True)
    constraints = folder / 'pins.txt'
    constraints.write_text('\n'.join(pins), encoding='utf-8')
    command = [python, '-m', 'pip', 'install', '--quiet', '-e', f'{ROOT}[dev]', '-c', constraints]
    subprocess.run(command, check=True)
    return python


def run_tests(python: Path, report: Path, tests: list[str]) -> dict[str, str]:
    """Counts of a pytest run, or of the one of timm's that it wraps."""
    report.unlink(missing_ok=True)
    options = ['-q', '-p', 'no:cacheprovider', '-o', 'junit_logging=all', f'--junitxml={report}']
    environment = {**os.environ, 'TIMM_ZEROSNET_REQUIRE_TIMM_TESTS': '1'}
    subprocess.run([python, '-m', 'pytest', *options, *tests], cwd=ROOT, env=environment)
    suite = ElementTree.parse(report).getroot()[0]
    failed, skipped = int(suite.get('failures', 0)) + int(suite.get('errors', 0)), int(suite.get('skipped', 0))
    passed = int(suite.get('tests', 0)) - failed - skipped
    wrapped = re.search('test_models.py: (.*)', report.read_text(encoding='utf-8'))
    if wrapped:
        passed, skipped, failed = (_count(kind, wrapped[1]) for kind in ('passed', 'skipped', 'failed'))
    seconds = f'{float(suite.get("time", 0)):.0f}'
    return {'passed': str(passed), 'skipped': str(skipped), 'failed': str(failed), 'seconds': seconds}


def _count(kind: str, summary: str) -> int:
    found = re.search(rf'(\d+) {kind}', summary)
    return int(found[1]) if found else 0


def installed(python: Path, package: str) -> str:
    """Its version."""
    code = f'from importlib.metadata import version; print(version({package!r}))'
    return subprocess.run([python, '-c', code], capture_output=True, text=True, check=True).stdout.strip()


def document(rows: list[dict[str, str]]) -> str:
    """docs/versions.md."""
    shown = [column for column in COLUMNS if column != 'seconds']
    return f'{HEAD}{markdown(shown, ([row[column] for column in shown] for row in rows))}\n'


def write(rows: list[dict[str, str]]) -> None:
    """The csv and the document."""
    write_csv(RESULTS, rows)
    DOCUMENT.write_text(document(rows), encoding='utf-8')
    print(DOCUMENT)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--only', nargs='+', choices=PAIRS, default=list(PAIRS))
    parser.add_argument('--environments', type=Path, default=Path('environments'))
    args = parser.parse_args()
    environments = args.environments.resolve()
    rows = read_csv(RESULTS) if RESULTS.is_file() else []
    for name in args.only:
        python = environment(environments / name, PAIRS[name])
        versions = {package: installed(python, package) for package in ('timm', 'torch')}
        rows = [row for row in rows if (row['timm'], row['torch']) != tuple(versions.values())]
        own = [str(ROOT / 'tests' / f'test_{each}.py') for each in OURS.split()]
        for tests, files in (('ours', own), ("timm's", [str(ROOT / 'tests' / 'test_timm_suite.py')])):
            found = run_tests(python, environments / f'{name}.xml', files)
            rows.append({**versions, 'tests': tests, **found})
        write(sorted(rows, key=lambda row: (row['timm'], row['torch'], row['tests'])))


if __name__ == '__main__':
    main()
