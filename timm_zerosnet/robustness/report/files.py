"""Writes the files of a run from its store.

Rows are sorted and numbers have fixed digits, so that equal runs give equal files; only ``timings.csv`` depends on when
and how often a run was started. Each file is replaced as a whole.
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
from ..._markdown import escape, markdown_table
from ..analysis.grids import Level
from ..analysis.run_analysis import Analysis, analyse
from ..corruptions import GENERATOR
from ..origins import PACKAGES, measured_with, versions_of
from ..plan import CLEAN, RunPlan, number
from ..store import FIGURES, Row, Store, mixture_notes, origins_of, read_rows
from ..suites import OFFICIAL, SUITES
from .findings import findings, sorted_models
from .html import report_html
from .samples import Samples
from .summary_markdown import MANY_MODELS, data_notes, suite_text, summary_lines
from .unmeasured import NAMED_CONDITIONS, unmeasured

RESULTS = 'results'
CELLS = ('model', 'suite', 'corruption', 'level', 'seed')


def export(folder: Path, store: Store, samples: Samples | None = None) -> tuple[list[Path], list[Row]]:
    """Write the files of the latest run.

    Args:
        folder: Folder that the files are written to.
        store: The store of the run.
        samples: Pictures for the HTML report; without them it shows none.

    Returns:
        The paths of the files, and the cells that failed.

    Raises:
        OSError: if a file cannot be written; the old one is then kept.
        StoreError: if the store cannot be read.
    """
    plan = store.plan()
    rows = read_rows(plan, store)
    analysis = analyse(store)
    results = {f'{RESULTS}/{name}': text for name, text in results_csvs(plan, rows).items()}
    texts = {
        'report.html': report_html(plan, rows, analysis, samples),
        'cells.csv': cells_csv(plan, rows),
        'summary.json': summary_json(plan, rows, analysis),
        'table.md': table_md(plan, rows, analysis),
        'timings.csv': timings_csv(plan, rows),
        **results,
    }
    make_folder(folder / RESULTS)
    earlier = store.files()
    store.set_files(earlier | results.keys())
    for name, text in texts.items():
        write(folder / name, text)
    for name in earlier - results.keys():  # of an earlier plan; the folder may hold results of others
        (folder / name).unlink(missing_ok=True)
    store.set_files(results)
    return [folder / name for name in texts], [row for row in rows if row.status == 'failed']


def write(path: Path, text: str) -> None:
    """Write a text file, replacing an old one as a whole.

    Raises:
        OutputError: if that fails; the old file is then kept.
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
    """One row for each cell: how long it took, on which device and with which versions."""
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
    """Everything that the numbers depend on, the number of cells, and the statistics, as JSON."""
    count = {status: sum(row.status == status for row in rows) for status in ('ok', 'failed', 'missing')}
    document = {key: value for key, value in plan.document().items() if key not in ('cells', 'image_ids', 'labels')}
    origins = origins_of(rows)
    if origins:  # those of the plan are of the latest run, which may have measured only some of the cells
        document['versions'] = versions_of(origins)
    document['measured_with'] = measured_with(origins)
    document['notes'] = mixture_notes(plan, rows)
    document['noise'] = GENERATOR
    document['sources'] = {name: row.source for name, row in SUITES.get(plan.suite, {}).items() if name in plan.levels}
    document['cells'] = {'planned': len(rows), **count}
    document['failed'] = [{**row.cell.document(), 'error': row.error} for row in rows if row.status == 'failed']
    document['statistics'] = analysis.document()
    return json.dumps(document, indent=2, ensure_ascii=False, sort_keys=True, allow_nan=False) + '\n'


def table_md(plan: RunPlan, rows: list[Row], analysis: Analysis) -> str:
    """The summary of each model, the pairs, and top-1 at each level averaged over noise seeds, as Markdown.

    A table with a column for each of many models cannot be read. More than ``MANY_MODELS`` are sorted by result, have a
    table for each corruption, and are summed up at the top.
    """
    data, seeds = plan.data, ', '.join(map(str, plan.seeds))
    subset = f' **A subset: the {data["subset"]} images.**' if data['subset'] else ''
    notes = data_notes(plan)
    many = len(plan.names) > MANY_MODELS
    found = findings(plan.names, analysis) if many else []
    lines = [
        f'Top-1 in percent on {data["images"]} images of {escape(data["name"]) or "a data set"}, suite '
        f'{suite_text(plan)}{f", mean over the seeds {seeds}" if seeds else ""}.{subset}',
        '',
        *(f'- {escape(note)}' for note in notes),
        *[''] * bool(notes),
        *(line for note in mixture_notes(plan, rows) for line in (f'**{escape(note[:1].upper() + note[1:])}.**', '')),
        *(f'- **{escape(subject)}**: {escape(text)}' for subject, text in found),
        *[''] * bool(found),
        *summary_lines(plan, analysis),
    ]
    if many:
        lines += _corruption_tables(sorted_models(plan.names, analysis), _by_level(rows))
    else:
        lines.append(_level_table(plan.names, _by_level(rows)))
    failed = [row for row in rows if row.status == 'failed']
    if failed:
        lines += ['', f'{len(failed)} of {len(rows)} cells failed:', '']
        lines += [f'- {escape(group.text(NAMED_CONDITIONS))}' for group in unmeasured(failed)]
    return '\n'.join(lines) + '\n'


def _level_table(names: list[str], found: dict[Level, dict[str, list[Row]]]) -> str:
    """A row for each corruption and level, a column for each model."""
    return markdown_table(
        ['corruption', 'level', *map(escape, names)],
        (
            [corruption, number(level), *(_mean_top1(cells[name]) for name in names)]
            for (corruption, level), cells in found.items()
        ),
        '--' + 'r' * len(names),
    )


def _corruption_tables(names: list[str], found: dict[Level, dict[str, list[Row]]]) -> list[str]:
    """For each corruption a table with a row for each model and a column for each level."""
    lines: list[str] = []
    for corruption in dict.fromkeys(name for name, _ in found):
        levels = [level for name, level in found if name == corruption]
        table = markdown_table(
            [corruption, *map(number, levels)],
            ([escape(name), *(_mean_top1(found[corruption, level][name]) for level in levels)] for name in names),
            '-' + 'r' * len(levels),
        )
        lines += [*[''] * bool(lines), table]
    return lines


def results_csvs(plan: RunPlan, rows: list[Row]) -> dict[str, str]:
    """The texts of files in the format of timm's ``results/``, by name: one for each corruption and level."""
    subset = plan.data['subset']
    suffix = f'-{subset.replace(" ", "-")}' if subset else ''
    texts = {}
    for (corruption, level), found in _by_level(rows).items():
        lines = []
        for model in plan.models:
            cells = found[model['name']]
            if any(row.status != 'ok' for row in cells):  # the format cannot express that
                continue
            top1, top5 = (fmean(row.figures[name] for row in cells) for name in ('top1', 'top5'))
            seen = model['preprocessing']
            resized = [number(seen['crop_pct']), seen['interpolation']] if plan.suite != OFFICIAL else ['', '']
            accuracies = (f'{value:.3f}' for value in (top1, 100 - top1, top5, 100 - top5))
            size = f'{model["parameters"] / 1e6:.2f}', seen['input_size'][-1]
            lines.append((-top1, [model['name'], *accuracies, *size, *resized, *[subset] * bool(subset)]))
        header = 'model top1 top1_err top5 top5_err param_count img_size crop_pct interpolation'.split()
        where = CLEAN if corruption == CLEAN else f'{corruption}-{number(level)}'
        name = f'results-{plan.suite}-{where}{suffix}.csv'
        texts[name] = _csv([*header, *['subset'] * bool(subset)], (line for _, line in sorted(lines)))
    return texts


def _place(row: Row) -> list[Any]:
    corruption, level, seed = row.cell.condition
    return [row.cell.model, row.cell.suite, corruption, number(level), seed]


def _by_level(rows: list[Row]) -> dict[Level, dict[str, list[Row]]]:
    """The rows of each model at each corruption and level."""
    found: dict[Level, dict[str, list[Row]]] = {}
    for row in rows:
        found.setdefault(row.cell.condition[:2], defaultdict(list))[row.cell.model].append(row)
    return found


def _mean_top1(rows: list[Row]) -> str:
    """Top-1 averaged over noise seeds, or why there is none."""
    for status in ('failed', 'missing'):
        if any(row.status == status for row in rows):
            return status
    return format(fmean(row.figures['top1'] for row in rows), '.2f')


def _csv(header: list[str], lines: Iterable[list[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator='\n').writerows([header, *lines])
    return text.getvalue()
