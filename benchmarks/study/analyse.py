"""Answer the questions of the study: a csv of statistics with intervals, a figure for each question, docs/study.md.

python benchmarks/study/analyse.py
python benchmarks/study/analyse.py --pilot
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if __name__ == '__main__':
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from matplotlib import rc_context
from records import read_csv, save_plot, write_csv

from study import figures, page
from study.commands import RESULTS
from study.questions import (
    LEAST,
    against_largest_modulus,
    between_seeds,
    change_of_difference,
    comparable,
    correlations,
    failures,
    lengths,
    main_group,
    regression,
    stable_against_unstable,
)

DOCS = Path(__file__).resolve().parents[2] / 'docs'
QUESTIONS = (correlations, between_seeds, against_largest_modulus, stable_against_unstable, regression)
STYLE = {'svg.hashsalt': 'timm-zerosnet', 'font.size': 9}


def main() -> int:
    """The command; 2 without a table to read."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--csv', type=Path, help='default: benchmarks/results/stability_study.csv or _pilot.csv')
    parser.add_argument('--pilot', action='store_true', help='rank correlations between lengths and seeds')
    parser.add_argument('--out', type=Path, help='folder of the figures, default: docs')
    args = parser.parse_args()
    path = args.csv or RESULTS / f'stability_{"pilot" if args.pilot else "study"}.csv'
    if not path.is_file():
        parser.error(f'--csv: expected a table that run.py has written, got {path}, which does not exist')
    rows = read_csv(path)
    if args.pilot:
        write_csv(path.with_name(f'{path.stem}_ranks.csv'), rounded(lengths(rows)))
        _write_page(path)
        return 0
    groups = comparable(rows)
    main = main_group(groups) if groups else None
    answers = []
    for group, kept in groups.items():
        found = [answer for question in QUESTIONS for answer in question(kept)]
        if group != main:
            found += change_of_difference(groups[main], kept)
        answers += [group._asdict() | {'runs': len(kept)} | answer for answer in found]
    if not answers:
        most = max((len({row['set'] for row in kept}) for kept in groups.values()), default=0)
        parser.error(
            f'{path}: expected equal runs of at least {LEAST} sets on test images, got {most}; run.py adds more'
        )
    write_csv(path.with_name(f'{path.stem}_answers.csv'), rounded(answers))
    for name, error, off in failures(groups[main]):
        direction = 'worse' if off > 0 else 'better'
        print(f'{name}: {error:.2f} % error, {abs(off):.0f} ranks {direction} than its largest modulus says')
    with rc_context(STYLE):
        kept, drawn = groups[main], {}
        for question in (figures.largest_modulus, figures.parasitic_radius, figures.scale, figures.last_block):
            drawn[question.__name__] = question(kept)
        for group, others in groups.items():
            names = {'depth': f'depth-{group.depth}', 'data': group.data}
            for aspect, name in names.items():  # in which a group differs from the main one, if in no other
                if group != main and group._replace(**{aspect: getattr(main, aspect)}) == main:
                    drawn[name] = figures.against(kept, others, (main.text, group.text))
        variants = {
            group.recipe: others for group, others in groups.items() if group._replace(recipe=main.recipe) == main
        }
        if len(variants) > 1:
            drawn['recipes'] = figures.recipes(variants)
        for name, figure in drawn.items():
            target = (args.out or DOCS) / f'study-{name.replace("_", "-")}.svg'
            save_plot(figure, target)
            print(target)
    _write_page(path)
    return 0


def _write_page(path: Path) -> None:
    if path.resolve().parent == RESULTS and path.stem in ('stability_pilot', 'stability_study'):  # those of the page
        page.write(RESULTS)


def rounded(answers: list[dict]) -> list[dict]:
    """Rows as the csv holds them: real numbers with four digits."""
    return [{k: f'{v:.4g}' if isinstance(v, float) else v for k, v in answer.items()} for answer in answers]


if __name__ == '__main__':
    sys.exit(main())
