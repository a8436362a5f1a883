"""Compare suite imagenet-c with imagecorruptions-imaug, and time every perturbation.

    python benchmarks/perturbations.py                            writes results/agreement.csv
    python benchmarks/perturbations.py --timings                  writes results/perturbations.csv as well
    OMP_NUM_THREADS=1 python benchmarks/perturbations.py --timings --no-agreement       the latter alone, in 4 minutes

Needs the extra ``dev``. Times are those of one thread: of each row of ``zerosnet`` at its largest level and 32 px, and
of the others at severity 1, 3 and 5, in ``cifar-c`` at 32 px and in ``imagenet-c`` at 224 px.

Differences are in steps of 1/255. Both packages corrupt the same squares of scikit-learn's two photographs. Corruptions
without randomness are compared pixel by pixel, and so are those of ``DRAWN``, for which our function is given the
random numbers that the other package draws; noise is compared by the mean and standard deviation of what it adds. The
other package has snow, frost and the elastic transform in another form than the official scripts.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any, Callable, Iterator

import numpy as np
import timm
import torch
from records import processor_name, write_csv
from torch import Tensor
from tqdm import tqdm

import timm_zerosnet  # noqa: F401
from timm_zerosnet.robustness import SUITES, perturb
from timm_zerosnet.robustness.data import load_labelled

HERE = Path(__file__).parent
SIZES = (64, 224)
DRAWN = ('glass_blur', 'motion_blur', 'fog', 'spatter')
TIMED_SEVERITIES = (1, 3, 5)
MOST_SECONDS, FEWEST_RUNS = 1.5, 3  # a row is repeated until either --runs or these seconds are over
OTHER_FORM = ('snow', 'frost', 'frost_like', 'elastic_transform')
COMPARED = [name for name in SUITES['imagenet-c'] if name not in OTHER_FORM]
AGAINST = ('imagecorruptions-imaug', 'scikit-image', 'opencv-python', 'pillow', 'numpy')


def photographs(size: int) -> np.ndarray:
    """uint8 (12, size, size, 3): eight squares cut from two photographs, and four larger ones that are scaled down."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    squares = []
    for photograph in load_sample_images().images:
        height, width = photograph.shape[:2]
        for top in (0, height - size):
            squares += [photograph[top : top + size, left : left + size] for left in (0, width - size)]
        for left in (0, width - height):
            whole = Image.fromarray(photograph[:, left : left + height])
            squares.append(np.asarray(whole.resize((size, size), Image.Resampling.BICUBIC)))
    return np.stack(squares)


def theirs(images: np.ndarray, name: str, severity: int, seed: int = 0) -> np.ndarray:
    """uint8 (N, H, W, 3) as imagecorruptions-imaug corrupts them; numpy's global generator is put back afterwards."""
    import imagecorruptions
    from imagecorruptions import corruptions

    if corruptions.SK_VERSION['major'] > 0:  # the package checks the minor version alone, which 1.0 reset
        corruptions.SK_VERSION['minor'] = 99
    state = np.random.get_state()
    np.random.seed(seed)
    own = name in ('impulse_noise', 'glass_blur')  # they ignore numpy's global generator
    found = []
    try:
        for i, image in enumerate(images):
            if name in DRAWN:
                np.random.seed(seed + i)
            found.append(imagecorruptions.corrupt(image, severity, name, **({'seed': seed + i} if own else {})))
        return np.stack(found)
    finally:
        np.random.set_state(state)


def ours(images: np.ndarray, name: str, severity: int, seed: int = 0) -> np.ndarray:
    """uint8 (N, H, W, 3) as suite imagenet-c corrupts them."""
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous() / 255
    found = 255 * perturb(pixels, name, severity, seed, suite='imagenet-c')
    return found.round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


class GivenDraws:
    """Stands in for ``Draws``: gives the numbers it was made of, whatever they are drawn for.

    Args:
        uniform: Numbers in [0, 1), as many as a row takes.
        normal: Numbers of N(0, 1), as many as a row takes.
    """

    def __init__(self, uniform: Any = (), normal: Any = ()) -> None:
        self._uniform, self._normal = (torch.as_tensor(np.asarray(v), dtype=torch.float64) for v in (uniform, normal))

    def uniform(self, like: Tensor) -> Tensor:
        return self._uniform.reshape(like.shape)

    def normal(self, like: Tensor) -> Tensor:
        return self._normal.reshape(like.shape)

    def named(self, purpose: str) -> GivenDraws:
        return self


def corrupt_with(
    draws: GivenDraws, image: np.ndarray, name: str, severity: int, suite: str = 'imagenet-c', **more: Any
) -> np.ndarray:
    """uint8 (H, W, 3) of one image as a seeded row corrupts it with these numbers."""
    row = SUITES[suite][name]
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].double() / 255
    found = 255 * row.function(pixels, row.strength(severity), draws, **more).clamp(0, 1)
    return found[0].floor().to(torch.uint8).permute(1, 2, 0).numpy()


def their_draws(name: str, severity: int, size: int, seed: int) -> GivenDraws:
    """The numbers that imagecorruptions-imaug draws for a square image in a row of ``DRAWN``."""
    state = np.random.RandomState(seed)
    if name == 'spatter':
        return GivenDraws(normal=state.normal(size=(size, size)))
    if name == 'glass_blur':
        _, reach, passes = SUITES['imagenet-c'][name].strength(severity)
        steps = _glass_steps()(seed, passes * (size - 2 * reach) ** 2, reach)
        return GivenDraws((steps + reach + 0.5) / (2 * reach))
    side = 1 << (size - 1).bit_length()
    return GivenDraws(state.random_sample(side**2 - 1 if name == 'fog' else 1))


@functools.cache
def _glass_steps() -> Callable[[int, int, int], np.ndarray]:
    """A function that draws steps from numba's own generator, as the glass blur of the other package does."""
    from numba import njit

    @njit  # type: ignore[untyped-decorator]
    def draw(seed: int, count: int, reach: int) -> np.ndarray:
        np.random.seed(seed)
        steps = np.empty((count, 2), np.int64)
        for i in range(count):
            steps[i] = np.random.randint(-reach, reach, size=(2,))
        return steps

    return draw  # type: ignore[no-any-return]


def agreement(name: str, severity: int, size: int) -> dict[str, Any]:
    """Compare both packages on one corruption; returns a row of agreement.csv.

    Where pixels can be compared, the row has ``mean_abs`` and ``max_abs`` of the difference and the ``share`` of values
    that differ. For noise it has the mean and standard deviation of what each package adds, and the difference of these
    two in standard errors (``z``).
    """
    images = photographs(size)
    expected = theirs(images, name, severity).astype(np.int16)
    if name in DRAWN:
        drawn = [their_draws(name, severity, size, i) for i in range(len(images))]
        found = np.stack([corrupt_with(*pair, name, severity) for pair in zip(drawn, images, strict=True)])
    else:
        found = ours(images, name, severity)
    found = found.astype(np.int16)
    line: dict[str, Any] = dict(corruption=name, severity=severity, size=size, images=len(images))
    if name in DRAWN or not SUITES['imagenet-c'][name].seeded:
        difference = np.abs(found - expected)
        return line | dict(mean_abs=difference.mean(), max_abs=difference.max(), share=(difference > 0).mean())
    added = [(values - images.astype(np.int16)).astype(float).ravel() for values in (found, expected)]
    squares = [(values - values.mean()) ** 2 for values in added]
    return line | dict(
        mean_ours=added[0].mean(),
        mean_theirs=added[1].mean(),
        mean_z=_standard_errors(*added),
        std_ours=squares[0].mean() ** 0.5,
        std_theirs=squares[1].mean() ** 0.5,
        std_z=_standard_errors(*squares),
    )


def _standard_errors(one: np.ndarray, other: np.ndarray) -> float:
    return float((one.mean() - other.mean()) / ((one.var() + other.var()) / one.size) ** 0.5)


def timings(data: Path, runs: int, note: str) -> Iterator[dict[str, Any]]:
    """Time every perturbation, and a network on the same images for comparison; yields rows of perturbations.csv.

    torch is left with one thread.

    Args:
        data: A file of labelled images, of which the first 200 are used, at 224 px the first 8.
        runs: How many times each is timed at most, see ``MOST_SECONDS``.
        note: Text for the column of that name.
    """
    torch.set_num_threads(1)
    images = torch.from_numpy(load_labelled(data).images[:200]).permute(0, 3, 1, 2).contiguous() / 255
    large = torch.nn.functional.interpolate(images[:8], size=(224, 224), mode='bicubic').clamp(0, 1)
    calls: dict[tuple[str, str, Any], tuple[Callable[[], Any], Tensor]] = {}
    for suite, rows in SUITES.items():
        batch = large if suite == 'imagenet-c' else images
        for name, row in rows.items():
            for level in TIMED_SEVERITIES if row.severities else row.levels[-1:]:
                calls[suite, name, level] = functools.partial(perturb, batch, name, level, suite=suite), batch
    net = timm.create_model('zerosnet20', pretrained=True).eval()
    calls['', 'zerosnet20 forward', ''] = functools.partial(net, images), images
    about = dict(threads=torch.get_num_threads(), machine=processor_name(), torch=torch.__version__, note=note)
    for (suite, name, level), (call, batch) in calls.items():
        seconds = []
        with torch.inference_mode():
            call()
            while len(seconds) < FEWEST_RUNS or len(seconds) < runs and sum(seconds) < MOST_SECONDS:
                start = time.perf_counter()
                call()
                seconds.append(time.perf_counter() - start)
        low, median, high = (1e6 * value / len(batch) for value in statistics.quantiles(seconds, n=4))
        line = dict(suite=suite, perturbation=name, level=level, size=batch.shape[-1], batch=len(batch))
        line |= dict(us_per_image=median, quarter=low, three_quarters=high, images_per_second=1e6 / median)
        yield line | dict(runs=len(seconds)) | about


def write(path: Path, lines: list[dict[str, Any]]) -> None:
    """Write rows as csv, numbers with four digits."""
    found = dict.fromkeys(name for line in lines for name in line)
    names = sorted(found, key=lambda name: name in ('against', 'note'))
    write_csv(path, [{name: _text(line.get(name, '')) for name in names} for line in lines])


def _text(value: Any) -> Any:
    return f'{value:.4g}' if isinstance(value, (float, np.floating)) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--timings', action='store_true', help='also time every perturbation')
    parser.add_argument('--no-agreement', action='store_true', help='compare nothing')
    parser.add_argument('--runs', type=int, default=20, help='repetitions of each perturbation at most')
    parser.add_argument('--note', default='', help='text for the column note, such as what else the machine was doing')
    parser.add_argument('--data', type=Path, default=HERE.parent / 'tests' / 'data' / 'cifar10_test_200.npz')
    parser.add_argument('--results', type=Path, default=HERE / 'results')
    args = parser.parse_args()
    if args.no_agreement and not args.timings:
        parser.error('expected --timings beside --no-agreement: there is nothing else to measure')
    args.results.mkdir(parents=True, exist_ok=True)
    if not args.no_agreement:
        against = ', '.join(f'{name} {version(name)}' for name in AGAINST)
        cells = [(name, severity, size) for name in COMPARED for size in SIZES for severity in range(1, 6)]
        write(args.results / 'agreement.csv', [agreement(*cell) | dict(against=against) for cell in tqdm(cells)])
    if args.timings:
        write(args.results / 'perturbations.csv', list(timings(args.data, args.runs, args.note)))


if __name__ == '__main__':
    main()
