"""Small faults of what is said and drawn."""

import pickle
import warnings

import numpy as np
import pytest
from matplotlib.figure import Figure

from timm_zerosnet import cli, demo
from timm_zerosnet._errors import WeightError, shorten
from timm_zerosnet.checkpoint import check_readable, read_checkpoint


@pytest.mark.parametrize('read', [check_readable, read_checkpoint])
@pytest.mark.parametrize('protocol', [2, 4, 5])
def test_no_warning_before_a_pickle_is_refused(read, protocol, tmp_path):
    """torch warns of another protocol than 2."""
    path = tmp_path / 'theirs.pth'
    path.write_bytes(pickle.dumps({'state_dict': np.random.default_rng}, protocol=protocol))
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter('always')
        with pytest.raises(WeightError, match='theirs.pth'):
            read(path)
    assert not seen


def test_names_in_a_row_end_without_dots():
    """A full stop after three dots makes four."""
    assert shorten('abcde') == 'a, b, c, d, e' and shorten('abcdefg') == 'a, b, c, d, e and 2 more'
    assert shorten('abc', 2) == 'a, b and 1 more'


def test_no_message_has_four_dots(capsys):
    assert (
        cli.main(
            ['validate', '--model', 'resnet50.none', '--data-dir', '.', '--timm-scripts', 'tests/support/stand_in']
        )
        == 2
    )
    said = capsys.readouterr().err
    assert 'expected a1_in1k' in said and ' more' in said and '....' not in said


def test_legend_and_chance_of_the_demo_lie_beside_the_bars(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(Figure, 'savefig', lambda figure, *args, **kwargs: drawn.append(figure))
    names = ['clean', *(f'{name} {level:+g}' for name, level in demo.NOISE)]
    demo._plot(tmp_path / 'plot.png', names, {'fine-tuned': [100.0] * len(names), 'from scratch': [9.0] * len(names)})
    (figure,) = drawn
    figure.canvas.draw()
    (axes,), (legend,) = figure.axes, figure.legends
    (beside,) = axes.child_axes
    (chance,) = (label for label in beside.get_yticklabels() if label.get_text() == 'chance')
    place = axes.get_window_extent()
    for shown in (legend, chance):
        assert not shown.get_window_extent().overlaps(place)
        assert figure.bbox.containsx(shown.get_window_extent().x1) and figure.bbox.containsy(
            shown.get_window_extent().y0
        )
    assert chance.get_fontsize() >= 9 and chance.get_color() == 'black'
