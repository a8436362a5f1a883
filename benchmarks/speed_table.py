"""Write the table of docs/performance.md from results/throughput-depth20.csv and results/throughput-depth110.csv.

    python benchmarks/speed_table.py

For two networks in the same mode, the table has the median and range of the paired ratios; for two modes, the ratio of
the median rates.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from records import read_csv, replace_table

from timm_zerosnet._markdown import markdown_table

RESULTS = Path(__file__).parent / 'results'
DOCUMENT = Path(__file__).resolve().parent.parent / 'docs' / 'performance.md'
DEPTHS = (20, 110)
RATIOS = (  # what is compared, the mode of zerosnet, the other network, its mode
    ('inference', 'infer', 'authors:{}', 'infer'),
    ('inference, compiled', 'infer-compiled', 'authors:{}', 'infer'),
    ('inference, bfloat16', 'infer-bf16', 'authors:{}', 'infer'),
    ('inference, bfloat16, compiled', 'infer-bf16-compiled', 'authors:{}', 'infer'),
    ('training step', 'train', 'authors:{}', 'train'),
    ('training step, bfloat16', 'train-bf16', 'authors:{}', 'train'),
    ('inference, bfloat16', 'infer-bf16', 'authors:{}', 'infer-bf16'),
    ('inference, bfloat16, compiled', 'infer-bf16-compiled', 'authors:{}', 'infer-bf16-compiled'),
    ('training step, bfloat16', 'train-bf16', 'authors:{}', 'train-bf16'),
    ('inference', 'infer', 'zerosnet{}:naive', 'infer'),
    ('inference, bfloat16', 'infer-bf16', 'zerosnet{}:naive', 'infer-bf16'),
    ('training step', 'train', 'zerosnet{}:naive', 'train'),
    ('inference', 'infer', 'preresnet{}', 'infer'),
    ('inference, bfloat16', 'infer-bf16', 'preresnet{}', 'infer-bf16'),
    ('inference, bfloat16, compiled', 'infer-bf16-compiled', 'preresnet{}', 'infer-bf16-compiled'),
    ('training step', 'train', 'preresnet{}', 'train'),
    ('training step, bfloat16', 'train-bf16', 'preresnet{}', 'train-bf16'),
)
NETWORK_NAMES = {
    'authors:{}': "the authors', {}",
    'zerosnet{}:naive': 'ours with the naive update, {}',
    'preresnet{}': 'preresnet, {}',
}
MODE_NAMES = {
    'infer': 'float32, eager',
    'infer-bf16': 'bfloat16, eager',
    'infer-bf16-compiled': 'bfloat16, compiled',
    'train': 'float32',
    'train-bf16': 'bfloat16',
}


def table() -> str:
    """The Markdown table: a row for each ratio, a column for each depth."""
    found = {}
    for depth in DEPTHS:
        for row in read_csv(RESULTS / f'throughput-depth{depth}.csv'):
            found[row['model'], row['mode']] = row
    rows = []
    for what, mode, other, its_mode in RATIOS:
        cells = []
        for depth in DEPTHS:
            ours, theirs = found.get((f'zerosnet{depth}', mode)), found.get((other.format(depth), its_mode))
            cells.append(_cell(ours, theirs) if ours and theirs else 'not measured')
        rows.append([what, NETWORK_NAMES[other].format(MODE_NAMES[its_mode]), *cells])
    return markdown_table(('zerosnet', 'against', *(f'depth {depth}' for depth in DEPTHS)), rows)


def _cell(ours: dict[str, str], theirs: dict[str, str]) -> str:
    if ours['mode'] != theirs['mode']:
        return f'{float(ours["samples_per_sec"]) / float(theirs["samples_per_sec"]):.2f} x'
    middle, low, high = (1 / float(theirs[key]) for key in ('ratio', 'ratio_high', 'ratio_low'))
    return f'{middle:.2f} x ({low:.2f} to {high:.2f})'


def document(text: str) -> str:
    """Return the text of docs/performance.md with its table made from the results."""
    return replace_table(text, 'ratios', table())


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    DOCUMENT.write_text(document(DOCUMENT.read_text(encoding='utf-8')), encoding='utf-8')
    print(DOCUMENT)


if __name__ == '__main__':
    main()
