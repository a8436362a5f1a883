"""Fine-tune a pretrained network on handwritten digits, and measure it on clean and on noisy images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from timm.optim import create_optimizer_v2
from torch import nn
from tqdm import tqdm

from ._files import make_folder, replacing
from .robustness import evaluate

MODEL = 'zerosnet20'
SIDE = 32
NOISE: tuple[tuple[str, float], ...] = (  # kind and level
    ('const', -0.2),
    ('const', 0.2),
    ('rand', 0.06),
    ('randn', 0.01),
    ('randn', 0.02),
    ('randn', 0.05),
)


@dataclass(frozen=True)
class Digits:
    """Handwritten digits, split at random.

    Args:
        x_train: (N, 32, 32, 3) uint8 images to learn from.
        y_train: (N,) labels 0 to 9 of ``x_train``.
        x_test: (M, 32, 32, 3) uint8 images to be tested on.
        y_test: (M,) labels 0 to 9 of ``x_test``.
    """

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


def load_digits(seed: int, test_share: float = 0.4) -> Digits:
    """Load the digits that scikit-learn bundles: 1,797 scans of 8 x 8 pixels, enlarged bilinearly to 32 x 32.

    Args:
        seed: The seed of the split.
        test_share: The share of the images to be tested on, 0 to 1.
    """
    from sklearn.datasets import load_digits as load
    from sklearn.model_selection import train_test_split

    raw = load()
    small = torch.from_numpy(raw.images / 16).float()[:, None]
    large = nn.functional.interpolate(small, size=(SIDE, SIDE), mode='bilinear', align_corners=False)
    images = (large.expand(-1, 3, -1, -1) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    x_train, x_test, y_train, y_test = train_test_split(
        images, raw.target, test_size=test_share, random_state=seed, stratify=raw.target
    )
    return Digits(x_train, y_train, x_test, y_test)


def train(model: Any, digits: Digits, epochs: int, seed: int, lr: float, label: str) -> None:
    """Train all parameters by SGD, in batches of 64, with a one-cycle learning rate.

    Args:
        model: A network with timm's ``pretrained_cfg`` and 10 classes; it is in eval mode afterwards.
        digits: The images to learn from.
        epochs: Number of passes over the images.
        seed: The seed of the order of the images.
        lr: The highest learning rate.
        label: The text beside the progress bar.
    """
    config = model.pretrained_cfg
    mean, std = (torch.tensor(config[key]).view(1, 3, 1, 1) for key in ('mean', 'std'))
    images = (torch.from_numpy(digits.x_train).permute(0, 3, 1, 2).float() / 255 - mean) / std
    images = images.contiguous(memory_format=torch.channels_last)
    targets = torch.from_numpy(digits.y_train).long()
    generator = torch.Generator().manual_seed(seed)
    batches = -(-len(images) // 64)
    optimizer = create_optimizer_v2(model, 'sgd', lr=lr, weight_decay=5e-4, momentum=0.9)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=epochs * batches)
    model.train().to(memory_format=torch.channels_last)
    with tqdm(total=epochs * batches, desc=label, unit='batch') as bar:
        for _ in range(epochs):
            for index in torch.randperm(len(images), generator=generator).split(64):
                loss = nn.functional.cross_entropy(model(images[index]), targets[index])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                bar.set_postfix(loss=f'{loss.item():.3f}', refresh=False)
                bar.update()
    model.eval()


def run(out: Path, seed: int = 0, epochs: int = 3) -> dict[str, list[float]]:
    """Run the demo: print a table, and write ``digits.csv`` and ``digits.png`` into ``out``.

    Args:
        out: The folder for the results, made if need be.
        seed: The seed of the split, the order of the images, the new layers and the noise.
        epochs: Number of epochs of each of the two trainings, at least 1.

    Returns:
        For ``'fine-tuned'`` and ``'from scratch'``, the top-1 accuracy in percent on the test digits: clean, and for
        each row of ``NOISE``.

    Raises:
        ValueError: for a seed out of range or less than one epoch.
    """
    if not 0 <= seed < 2**32 or epochs < 1:
        raise ValueError(f'expected a seed from 0 to 2**32 - 1 and at least 1 epoch, got seed={seed}, epochs={epochs}')
    make_folder(out)
    digits = load_digits(seed)
    print(f'{len(digits.x_train)} handwritten digits to learn from, {len(digits.x_test)} to be tested on')
    accuracies: dict[str, list[float]] = {}
    for label, pretrained, lr in (('fine-tuned', True, 0.05), ('from scratch', False, 0.1)):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model: Any = timm.create_model(MODEL, pretrained=pretrained)
            model.reset_classifier(10)  # the ten digits are not the ten classes of CIFAR-10
            train(model, digits, epochs, seed, lr, label)
        settings: list[tuple[str | None, float]] = [(None, 0.0), *NOISE]
        accuracies[label] = [
            evaluate(model, digits.x_test, digits.y_test, perturbation=name, level=level, seed=seed).top1
            for name, level in tqdm(settings, desc=f'measuring {label}', unit='setting')
        ]
    names = ['clean', *(f'{name} {level:+g}' for name, level in NOISE)]
    _print_table(names, accuracies)
    _write_csv(out / 'digits.csv', names, accuracies)
    _plot(out / 'digits.png', names, accuracies)
    print(f'\ntable: {out / "digits.csv"}\nplot:  {out / "digits.png"}')
    return accuracies


def _print_table(names: list[str], accuracies: dict[str, list[float]]) -> None:
    print(f'\n{MODEL} on handwritten digits, top-1 %\n\n{"noise":14}' + ''.join(f'{label:>14}' for label in accuracies))
    for i, name in enumerate(names):
        print(f'{name:14}' + ''.join(f'{values[i]:14.2f}' for values in accuracies.values()))


def _write_csv(path: Path, names: list[str], accuracies: dict[str, list[float]]) -> None:
    lines = [','.join(['noise', *accuracies])]
    lines += [','.join([name, *(f'{values[i]:.4f}' for values in accuracies.values())]) for i, name in enumerate(names)]
    with replacing(path) as partial:
        partial.write_text('\n'.join(lines) + '\n', encoding='utf-8')


def _plot(path: Path, names: list[str], accuracies: dict[str, list[float]]) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    positions, width = np.arange(len(names)), 0.8 / len(accuracies)
    for i, (label, values) in enumerate(accuracies.items()):
        bars = axes.bar(positions + (i - (len(accuracies) - 1) / 2) * width, values, width, label=label)
        axes.bar_label(bars, fmt='%.0f', fontsize=7)
    axes.axhline(10, color='black', linewidth=0.8, linestyle=':')
    axes.set_xticks(positions, names)
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.set_ylim(0, 109)
    right = axes.secondary_yaxis('right')  # outside the bars
    right.set_yticks([10], ['chance'])
    right.tick_params(length=0, labelsize=9)
    right.spines['right'].set_visible(False)
    axes.set_ylabel('top-1 %')
    axes.set_title(f'{MODEL} on handwritten digits, clean and under noise')
    figure.legend(loc='outside lower center', ncols=len(accuracies), fontsize=9)
    with replacing(path) as partial:
        figure.savefig(partial, format='png', dpi=150)
