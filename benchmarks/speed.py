"""The table of docs/speed.md, from results/throughput-depth20.csv and -depth110.csv.

Of two networks in the same mode, median and range of the paired ratios; of two modes, the ratio of the median rates.

python benchmarks/speed.py
"""

from __future__ import annotations

from pathlib import Path

from records import markdown, read_csv

RESULTS = Path(__file__).parent / 'results'
DOCUMENT = Path(__file__).resolve().parent.parent / 'docs' / 'performance.md'
DEPTHS = (20, 110)
BEGIN, END = '<!-- ratios:begin -->', '<!-- ratios:end -->'
RATIOS = (  # what, our mode, the other network, its mode
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
NAMES = {
    'authors:{}': "the authors', {}",
    'zerosnet{}:naive': 'ours with the naive update, {}',
    'preresnet{}': 'preresnet, {}',
}
WORDS = {
    'infer': 'float32, eager',
    'infer-bf16': 'bfloat16, eager',
    'infer-bf16-compiled': 'bfloat16, compiled',
    'train': 'float32',
    'train-bf16': 'bfloat16',
}


def table() -> str:
    """A row for each ratio, a column for each depth."""
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
        rows.append([what, NAMES[other].format(WORDS[its_mode]), *cells])
    return markdown(('zerosnet', 'against', *(f'depth {depth}' for depth in DEPTHS)), rows)


def _cell(ours: dict[str, str], theirs: dict[str, str]) -> str:
    if ours['mode'] != theirs['mode']:
        return f'{float(ours["samples_per_sec"]) / float(theirs["samples_per_sec"]):.2f} x'
    middle, low, high = (1 / float(theirs[key]) for key in ('ratio', 'ratio_high', 'ratio_low'))
    return f'{middle:.2f} x ({low:.2f} to {high:.2f})'


def document(text: str) -> str:
    """The text with its table made anew."""
    before, rest = text.split(BEGIN)
    return f'{before}{BEGIN}\n{table()}\n{END}{rest.split(END)[1]}'


if __name__ == '__main__':
    DOCUMENT.write_text(document(DOCUMENT.read_text(encoding='utf-8')), encoding='utf-8')
    print(DOCUMENT)
