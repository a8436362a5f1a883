"""The recipe of the study, its variants, and a training with one of them that can be killed at any time."""

from __future__ import annotations

import math
import time
import warnings
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Callable

import timm
import torch
from timm.layers import freeze_batch_norm_2d
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import timm_zerosnet  # noqa: F401  registers the networks
from study.data import Draws, Images, crop, padded
from study.sets import SETS
from study.table import Job
from timm_zerosnet import ZeroStabilityWarning
from timm_zerosnet._files import replacing
from timm_zerosnet.robustness import evaluate


@dataclass(frozen=True)
class Recipe:
    """How every set is trained: SGD with Nesterov momentum, linear warm-up and decay, growing images, cross entropy.

    Args:
        sizes: (pixels, until this fraction of the run), the last one until 1; a run is tested at the last size.
        batch_size: Images in a step; what is left of a pass over the data is dropped.
        lr: Peak learning rate.
        momentum: Of Nesterov's.
        weight_decay: Of convolutions and the classifier's weight, not of norms and biases.
        batch_norm: Whether the networks have it; without it, its places keep their activations alone.
        warmup: Fraction of the run in which the learning rate rises; then it falls to 0.
        train_tested: Training images, the first ones, whose loss and accuracy are measured without crops.
        noises: (perturbation of suite zerosnet, level) that the test images are also seen under, seed 0.
        check: Steps between two looks at the loss, the clock and the progress.
    """

    sizes: tuple[tuple[int, float], ...] = ((12, 0.6), (16, 1.0))
    batch_size: int = 128
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    batch_norm: bool = True
    warmup: float = 0.1
    train_tested: int = 10_000
    noises: tuple[tuple[str, float], ...] = (('rand', 0.2), ('randn', 0.1), ('uniform', 0.1))
    check: int = 10

    def size(self, step: int, steps: int) -> int:
        """Image size of a step, px."""
        return next(size for size, until in self.sizes if step < until * steps)

    def rate(self, step: int, steps: int) -> float:
        """Learning rate of a step."""
        rising = self.warmup * steps
        return self.lr * min((step + 1) / max(rising, 1), (steps - step) / max(steps - rising, 1))

    @property
    def noise_columns(self) -> list[str]:
        return [f'{name}_{level:g}_accuracy' for name, level in self.noises]


RECIPE = Recipe()
RECIPES = {  # by name, as tables and options have them
    'standard': RECIPE,
    'no-decay': replace(RECIPE, weight_decay=0.0),
    # of 0.1, 0.03, 0.01 and 0.003, on held-out images, euler and zerosnet-opt were best at 0.03; lm(2.2) and all-ones
    # learned at 0.003 alone
    'no-norm': replace(RECIPE, batch_norm=False, lr=0.03),
    'no-norm-slow': replace(RECIPE, batch_norm=False, lr=0.003),
}


class Sizes:
    """A data set at the sizes that were asked for so far."""

    def __init__(self, images: Images):
        self.classes, self.sha256 = images.classes, images.sha256()
        self.at = lru_cache(maxsize=None)(images.at)


def processor(device: str) -> str:
    """What multiplies: a GPU's name, or the widest vector instructions that PyTorch uses, such as ``'AVX2'``."""
    if device.startswith('cpu'):
        return torch.backends.cpu.get_cpu_capability()
    return torch.cuda.get_device_name(device) if device.startswith('cuda') else device


def build(job: Job, recipe: Recipe, classes: int) -> nn.Module:
    """The network of a run, its weights drawn from the run's seed."""
    size = recipe.sizes[-1][0]
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter('ignore', ZeroStabilityWarning)
        torch.manual_seed(job.seed)
        net = timm.create_model(
            f'multistep_resnet{job.depth}',
            method=SETS[job.set].method,
            num_classes=classes,
            pretrained_cfg_overlay={'input_size': (3, size, size), 'crop_pct': 1.0},  # evaluate() resizes to it
        )
    # frozen at mean 0, variance 1, gain 1 and shift 0, a norm is the identity
    return net if recipe.batch_norm else freeze_batch_norm_2d(net)


def _optimizer(net: nn.Module, recipe: Recipe) -> torch.optim.SGD:
    decayed = [p for p in net.parameters() if p.ndim > 1]
    rest = [p for p in net.parameters() if p.ndim <= 1]
    groups = [{'params': decayed, 'weight_decay': recipe.weight_decay}, {'params': rest, 'weight_decay': 0.0}]
    return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=True)


def train(
    job: Job,
    data: Sizes,
    checkpoint: Path,
    recipe: Recipe | None = None,
    device: str = 'cpu',
    save_every: float = 30.0,
    report: Callable[[int, float], None] = lambda images, loss: None,
) -> dict[str, Any]:
    """Train a run and measure it: the same bits for the same run on the same machine, killed and resumed or not.

    Args:
        job: The run.
        data: Of ``job.data`` and ``job.holdout``.
        checkpoint: Where it is kept while it goes; a file of this run on these images is resumed, one of another run is
            replaced.
        recipe: How, default: the one that ``job.recipe`` names.
        device: ``'cpu'`` or ``'cuda'``.
        save_every: Seconds between two checkpoints.
        report: Called every ``recipe.check`` steps with the images seen and the mean loss of the run so far.

    Returns:
        A row of the table. A run whose loss or logits are not finite stops, is at chance and is marked ``diverged``.

    Raises:
        ValueError: if the training images, or those the run shall see, do not fill a batch, or the checkpoint is of
            this run on other images.
    """
    recipe = recipe or RECIPES[job.recipe]
    last = recipe.sizes[-1][0]
    targets = data.at(last).y_train
    steps, in_epoch = job.images // recipe.batch_size, len(targets) // recipe.batch_size
    if not steps or not in_epoch:
        raise ValueError(
            f'expected at least {recipe.batch_size} images, one batch, got a run of {job.images} over {len(targets)}'
        )
    bfloat16 = job.precision == 'bfloat16'
    # a processor's own seconds, of one thread, do not count those in which something else had it
    clock = time.process_time if device.startswith('cpu') else time.perf_counter
    net = build(job, recipe, data.classes).to(device=device, memory_format=torch.channels_last).train()
    optimizer = _optimizer(net, recipe)
    center, scale = (
        255 * torch.tensor(net.pretrained_cfg[key], device=device).view(1, 3, 1, 1) for key in ('mean', 'std')
    )
    state: dict[str, Any] = {'run': repr((job, recipe)), 'images': data.sha256}
    state |= {'step': 0, 'seconds': 0.0, 'loss': 0.0}
    _resume(state, checkpoint, net, optimizer, device)
    summed = torch.tensor(state['loss'], dtype=torch.float64, device=device)  # infinite or NaN once a loss was
    started, saved = clock(), time.monotonic()
    before, size, epoch = state['seconds'], 0, -1

    for step in range(state['step'], steps):
        if size != recipe.size(step, steps):
            size = recipe.size(step, steps)
            bordered = padded(data.at(size).x_train).to(device)
        if epoch != step // in_epoch:
            epoch = step // in_epoch
            draws = Draws.of(job.seed, epoch, len(targets))
        part = slice(step % in_epoch * recipe.batch_size, (step % in_epoch + 1) * recipe.batch_size)
        index = draws.order[part]
        batch = crop(bordered, index.to(device), draws.shift[part].to(device), draws.flip[part].to(device), size)
        for group in optimizer.param_groups:
            group['lr'] = recipe.rate(step, steps)
        summed += _step(net, optimizer, (batch - center) / scale, targets[index].to(device), bfloat16)
        if (step + 1) % recipe.check and step + 1 < steps:
            continue
        state |= {'step': step + 1, 'loss': summed.item()}
        state['seconds'] = before + clock() - started  # after item(), which waits for a GPU
        report((step + 1) * recipe.batch_size, state['loss'] / (step + 1))
        if not math.isfinite(state['loss']):
            break
        if time.monotonic() - saved >= save_every:
            _save(state, checkpoint, net, optimizer)
            saved = time.monotonic()

    seen = state['step'] * recipe.batch_size
    return {
        **job.columns(),
        'images_seen': seen,
        'image_size': last,
        'precision': job.precision,
        'processor': processor(device),
        **_measure(net, data.at(last), recipe, device, math.isfinite(state['loss'])),
        'seconds': f'{state["seconds"]:.1f}',
        'images_per_second': f'{seen / state["seconds"]:.1f}',
    }


def _step(net: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor, bfloat16: bool) -> Tensor:
    with torch.autocast(x.device.type, torch.bfloat16, enabled=bfloat16):
        logits = net(x)
    loss = cross_entropy(logits.float(), y)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.detach()


def _save(state: dict[str, Any], path: Path, net: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    with replacing(path) as partial:
        torch.save({**state, 'net': net.state_dict(), 'optimizer': optimizer.state_dict()}, partial)


def _resume(state: dict[str, Any], path: Path, net: nn.Module, optimizer: torch.optim.Optimizer, device: str) -> None:
    if not path.exists():
        return
    found = torch.load(path, map_location=device, weights_only=True)
    if found['run'] == state['run']:
        if found.get('images', state['images']) != state['images']:  # the first ones do not say
            raise ValueError(f'{path}: expected a checkpoint on these images, got one on others of the same name')
        net.load_state_dict(found.pop('net'))
        optimizer.load_state_dict(found.pop('optimizer'))
        state |= found


def _measure(net: nn.Module, images: Images, recipe: Recipe, device: str, finite: bool) -> dict[str, Any]:
    """Losses, nats, and accuracies, percent, as columns."""
    chance = 100 / images.classes
    found: dict[str, Any] = {}
    x_train, y_train = (part[: recipe.train_tested] for part in (images.x_train, images.y_train))
    try:
        if not finite:
            raise ValueError('the loss is not finite')
        for name, x, y in (('train', x_train, y_train), ('test', images.x_test, images.y_test)):
            seen = evaluate(net, x.numpy(), y, device=device)
            found |= {f'{name}_loss': f'{seen.loss.mean(dtype="float64"):.9g}', f'{name}_accuracy': f'{seen.top1:.4f}'}
        for column, (noise, level) in zip(recipe.noise_columns, recipe.noises, strict=True):
            seen = evaluate(
                net, images.x_test.numpy(), images.y_test, perturbation=noise, level=level, seed=0, device=device
            )
            found[column] = f'{seen.top1:.4f}'
    except ValueError as error:
        if 'finite' not in str(error):  # evaluate() refuses logits that are NaN or infinite
            raise
        for name in ('train', 'test'):
            found |= {f'{name}_loss': f'{math.log(images.classes):.9g}', f'{name}_accuracy': f'{chance:.4f}'}
        found |= {column: f'{chance:.4f}' for column in recipe.noise_columns}
        return found | {'diverged': 1}
    return found | {'diverged': 0}
