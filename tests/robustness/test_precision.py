"""What networks compute in is what was asked for, is recorded, and makes cells of their own."""

import pytest
import torch
from small_runs import DATA, Plain, plain, rows

from timm_zerosnet.robustness.analysis.run_analysis import compare_run
from timm_zerosnet.robustness.models import Source
from timm_zerosnet.robustness.precision import Precision
from timm_zerosnet.robustness.report.comparison_markdown import comparison_markdown
from timm_zerosnet.robustness.run import run
from timm_zerosnet.robustness.store import read_run

ONE = dict(corruptions=['const'], levels=[0.1])


def test_cells_of_early_versions_are_kept():
    """The words in the keys of what a CPU computes by default have not changed."""
    assert Precision().text('cpu') == 'of the weights'
    assert Precision.of('cpu', amp=True).text('cpu') == 'amp bfloat16'


def test_whatever_changes_the_numbers_is_told():
    one_each = [
        Precision(),
        Precision('bfloat16'),
        Precision('float16'),
        Precision(channels_last=True),
        Precision(channels_last=False),
        Precision(torchcompile='eager'),
        Precision(tf32=True),
    ]
    texts = [precision.text(device) for precision in one_each for device in ('cpu', 'cuda:1')]
    assert len(set(texts)) == len(texts)
    assert Precision().text('cuda:0') == Precision().text('cuda:7'), 'any GPU of a machine'


@pytest.mark.parametrize(
    'settings, message',
    [
        (dict(amp_dtype='int8'), "amp_dtype: expected bfloat16 or float16, got 'int8'"),
        (
            dict(torchcompile='inductr'),
            'torchcompile: expected a backend of torch.compile, such as '
            "((?!eager|TESTING).)*inductor((?!eager|TESTING).)*, got 'inductr'",
        ),
    ],
)
def test_unknown_ones_are_refused(settings, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        run([plain('a')], DATA, tmp_path / 'out', **ONE, **settings)
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('dtype', ['bfloat16', 'float16'])
def test_type_of_autocast(dtype, tmp_path):
    seen = set()
    source = plain('a', lambda logits, x: (seen.add(logits.dtype), logits)[1])
    run([source], DATA, tmp_path, amp_dtype=dtype, **ONE)
    assert seen == {getattr(torch, dtype)}
    assert read_run(tmp_path).plan['precision'] == f'amp {dtype}'


@pytest.mark.parametrize('channels_last', [True, False, None])
def test_memory_format(channels_last, tmp_path):
    seen = set()

    class Convolution(Plain):
        def forward(self, x):
            seen.add(x.is_contiguous(memory_format=torch.channels_last))
            return self.linear(x.reshape(len(x), -1))

    source = Source('a', Convolution(), mean=(0.5,) * 3, std=(0.5,) * 3)
    run([source], DATA, tmp_path, channels_last=channels_last, **ONE)
    assert seen == {bool(channels_last)}


def test_compiled(tmp_path):
    """Backend eager compiles nothing, so that the figures are the same to the last digit."""
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 10))
    source = Source('a', net, mean=(0.5,) * 3, std=(0.5,) * 3)
    run([source], DATA, tmp_path / 'plain', **ONE)
    outcome = run([source], DATA, tmp_path / 'compiled', torchcompile='eager', **ONE)
    assert outcome.measured == 2 and not outcome.failed
    assert rows(tmp_path / 'plain') == rows(tmp_path / 'compiled')
    assert read_run(tmp_path / 'compiled').plan['precision'] == 'of the weights, compiled by eager'
    again = run([source], DATA, tmp_path / 'plain', torchcompile='eager', **ONE)
    assert again.measured == 2, 'cells of their own'


def test_a_comparison_of_two_precisions_says_so(tmp_path):
    for folder, amp in (('a', False), ('b', True), ('c', True)):
        run([plain('a')], DATA, tmp_path / folder, amp=amp, device='cpu', **ONE)
    found = compare_run(tmp_path / 'a', 'a', 'a', tmp_path / 'b')
    assert found.notes == ('the two were not computed in the same precision: of the weights and amp bfloat16',)
    assert f'**{found.notes[0]}**' in comparison_markdown(found)
    assert compare_run(tmp_path / 'b', 'a', 'a', tmp_path / 'c').notes == ()


@pytest.mark.parametrize('tf32', [True, False])
def test_tf32_is_set_for_the_run_alone(tf32, tmp_path):
    places = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [place.allow_tf32 for place in places]
    seen = set()
    source = plain('a', lambda logits, x: (seen.update(place.allow_tf32 for place in places), logits)[1])
    run([source], DATA, tmp_path, tf32=tf32, **ONE)
    assert seen == {tf32} and [place.allow_tf32 for place in places] == before
