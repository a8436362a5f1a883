"""The files of a run, made from its store: sorted, with fixed digits, each whole or not there.

Nothing in them depends on when or how often the run was started; ``timings.csv`` alone does.
"""

from __future__ import annotations

import csv
import io
import json
from collections import defaultdict
from pathlib import Path
from statistics import fmean
from typing import Any, Iterable

from ..._files import make_folder, replacing
from ..analysis.run import Analysis, analyse
from ..corruptions import GENERATOR
from ..origins import PACKAGES, measured_with, versions_of
from ..plan import CLEAN, RunPlan, number
from ..store import FIGURES, Row, Store, mixture_notes, origins_of, read_rows
from ..suites import SUITES
from .html import report_html
from .markdown import data_notes, markdown, suite_text, summary_lines
from .samples import Samples

RESULTS = 'results'
CELLS = ('model', 'suite', 'corruption', 'level', 'seed')


def export(folder: Path, store: Store, samples: Samples | None = None) -> tuple[list[Path], list[str]]:
    """Write the files of the latest run.

    Args:
        folder: Where to.
        store: Of the run.
        samples: Pictures for the report.

    Returns:
        The files, and ``'model, corruption level, seed: reason'`` of each cell that failed.

    Raises:
        OSError: if one cannot be written; then the old one is still there.
        StoreError: if the store cannot be read.
    """
    plan = store.plan()
    rows = read_rows(plan, store)
    analysis = analyse(store)
    texts = {
        'report.html': report_html(plan, rows, analysis, samples),
        'cells.csv': cells_csv(plan, rows),
        'summary.json': summary_json(plan, rows, analysis),
        'table.md': table_md(plan, rows, analysis),
        'timings.csv': timings_csv(plan, rows),
        **{f'{RESULTS}/{name}': text for name, text in results_csvs(plan, rows).items()},
    }
    make_folder(folder / RESULTS)
    for name, text in texts.items():
        write(folder / name, text)
    for old in (folder / RESULTS).glob('results-*.csv'):  # of an earlier plan
        if f'{RESULTS}/{old.name}' not in texts:
            old.unlink()
    failed = [f'{row.cell}: {row.error}' for row in rows if row.status == 'failed']
    return [folder / name for name in texts], failed


def write(path: Path, text: str) -> None:
    """Replace a file by a whole one.

    Raises:
        OutputError: if that fails; then the old one is still there.
    """
    with replacing(path) as partial:
        partial.write_text(text, encoding='utf-8', errors='backslashreplace', newline='')


def cells_csv(plan: RunPlan, rows: list[Row]) -> str:
    """One row for each model, corruption, level and seed; accuracies in percent, loss in nats."""
    data = plan.data
    return _csv(
        [*CELLS, 'images', 'subset', 'status', *FIGURES, 'error'],
        (
            [
                *_place(row),
                data['images'],
                data['subset'],
                row.status,
                *(
                    f'{row.figures[name]:.{4 if name.startswith("top") else 6}f}' if row.figures else ''
                    for name in FIGURES
                ),
                row.error,
            ]
            for row in rows
        ),
    )


def timings_csv(plan: RunPlan, rows: list[Row]) -> str:
    """How long each cell took, where and with what; the one file that two runs do not share."""
    images = plan.data['images']
    return _csv(
        [*CELLS, 'seconds', 'images_per_second', 'device', 'device_name', *PACKAGES],
        (
            [
                *_place(row),
                f'{row.seconds:.3f}',
                f'{images / row.seconds if row.seconds else 0:.1f}',
                row.device,
                *(
                    [row.origin.device, *map(row.origin.version, PACKAGES)]
                    if row.status != 'missing'
                    else [''] * (1 + len(PACKAGES))
                ),
            ]
            for row in rows
        ),
    )


def summary_json(plan: RunPlan, rows: list[Row], analysis: Analysis) -> str:
    """All that the numbers depend on, how many cells there are, and the statistics."""
    count = {status: sum(row.status == status for row in rows) for status in ('ok', 'failed', 'missing')}
    document = {key: value for key, value in plan.document().items() if key not in ('cells', 'image_ids', 'labels')}
    origins = origins_of(rows)
    if origins:  # the plan's are those of the latest run, which may have measured a part
        document['versions'] = versions_of(origins)
    document['measured_with'] = measured_with(origins)
    document['notes'] = mixture_notes(plan, rows)
    document['noise'] = GENERATOR
    document['sources'] = {name: SUITES[plan.suite][name].source for name in plan.levels}
    document['cells'] = {'planned': len(rows), **count}
    document['failed'] = [{**row.cell.document(), 'error': row.error} for row in rows if row.status == 'failed']
    document['statistics'] = analysis.document()
    return json.dumps(document, indent=2, ensure_ascii=False, sort_keys=True, allow_nan=False) + '\n'


def table_md(plan: RunPlan, rows: list[Row], analysis: Analysis) -> str:
    """What sums up each model, pairs of them, and top-1 by corruption and level, means over the seeds."""
    names = plan.names
    cells = _by_point(rows)
    data, seeds = plan.data, ', '.join(map(str, plan.seeds))
    subset = f' **A subset: the {data["subset"]} images.**' if data['subset'] else ''
    notes = data_notes(plan)
    lines = [
        f'Top-1 in percent on {data["images"]} images of {markdown(data["name"]) or "a data set"}, suite '
        f'{suite_text(plan)}{f", mean over the seeds {seeds}" if seeds else ""}.{subset}',
        '',
        *(f'- {markdown(note)}' for note in notes),
        *[''] * bool(notes),
        *(line for note in mixture_notes(plan, rows) for line in (f'**{markdown(note[:1].upper() + note[1:])}.**', '')),
        *summary_lines(plan, analysis),
        f'| corruption | level | {" | ".join(map(markdown, names))} |',
        f'| --- | --- |{" ---: |" * len(names)}',
    ]
    for (corruption, level), found in cells.items():
        top1 = [_mean(found[name], 'top1', '.2f') for name in names]
        lines.append(f'| {corruption} | {number(level)} | {" | ".join(top1)} |')
    failed = [row for row in rows if row.status == 'failed']
    if failed:
        lines += ['', f'{len(failed)} of {len(rows)} cells failed:', '']
        lines += [f'- {markdown(f"{row.cell}: {row.error}")}' for row in failed]
    return '\n'.join(lines) + '\n'


def results_csvs(plan: RunPlan, rows: list[Row]) -> dict[str, str]:
    """Text by name, in the format of the files in timm's ``results/``: one for each corruption and level."""
    subset = plan.data['subset']
    suffix = f'-{subset.replace(" ", "-")}' if subset else ''
    texts = {}
    for (corruption, level), found in _by_point(rows).items():
        lines = []
        for model in plan.models:
            cells = found[model['name']]
            if any(row.status != 'ok' for row in cells):  # the format has no place for them
                continue
            top1, top5 = (fmean(row.figures[name] for row in cells) for name in ('top1', 'top5'))
            seen = model['preprocessing']
            accuracies = (f'{value:.3f}' for value in (top1, 100 - top1, top5, 100 - top5))
            size = (f'{model["parameters"] / 1e6:.2f}', seen['input_size'][-1], number(seen['crop_pct']))
            lines.append((-top1, [model['name'], *accuracies, *size, seen['interpolation'], *[subset] * bool(subset)]))
        header = 'model top1 top1_err top5 top5_err param_count img_size crop_pct interpolation'.split()
        where = CLEAN if corruption == CLEAN else f'{corruption}-{number(level)}'
        name = f'results-{plan.suite}-{where}{suffix}.csv'
        texts[name] = _csv([*header, *['subset'] * bool(subset)], (line for _, line in sorted(lines)))
    return texts


def _place(row: Row) -> list[Any]:
    corruption, level, seed = row.cell.condition
    return [row.cell.model, row.cell.suite, corruption, number(level), seed]


def _by_point(rows: list[Row]) -> dict[tuple[str, float], dict[str, list[Row]]]:
    found: dict[tuple[str, float], dict[str, list[Row]]] = {}
    for row in rows:
        point = found.setdefault(row.cell.condition[:2], defaultdict(list))
        point[row.cell.model].append(row)
    return found


def _mean(rows: list[Row], figure: str, digits: str) -> str:
    """The mean over the seeds, or what hinders it."""
    for status in ('failed', 'missing'):
        if any(row.status == status for row in rows):
            return status
    return format(fmean(row.figures[figure] for row in rows), digits)


def _csv(header: list[str], lines: Iterable[list[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator='\n').writerows([header, *lines])
    return text.getvalue()
