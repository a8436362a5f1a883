"""Reports of made cells: the plan, rows and analysis that ``export`` reads from a store."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import replace

import numpy as np
from made_cells import evaluation, whole_run

from timm_zerosnet.robustness.analysis.run_analysis import analyse_cells
from timm_zerosnet.robustness.plan import CLEAN, Cell, Condition, PlannedCell, RunPlan, plan_conditions
from timm_zerosnet.robustness.report.html import report_html
from timm_zerosnet.robustness.report.samples import sample_pictures
from timm_zerosnet.robustness.store import FIGURES, Row

SCRIPT = '<script>alert(1)</script>|x'
LONG = 'a_network_with_a_very_long_name' * 6


def made_plan(models, conditions, *, suite='zerosnet', baseline=None, subset='', data_name='made'):
    """The plan of a run.

    Args:
        models: The cells of each model; those that are not planned are dropped.
        conditions: (corruption, level, seed) of every planned cell of a model.
        suite: Name of the suite.
        baseline: Name of the baseline.
        subset: Text that names the images, if they are not the whole data set.
        data_name: Name of the data set.
    """
    levels: dict[str, list[float]] = {}
    for corruption, level, _ in conditions:
        if corruption != CLEAN and level not in levels.setdefault(corruption, []):
            levels[corruption].append(level)
    images = next((len(c.result.correct) for own in models.values() for c in own), 5)
    return RunPlan(
        versions={'timm-zerosnet': '0.1.0', 'torch': '2'},
        suite=suite,
        levels=levels,
        seeds=sorted({seed for *_, seed in conditions if seed is not None}),
        precision='of the weights',
        baseline=baseline,
        image_ids=[],
        labels=None,
        data={
            'name': data_name,
            'images': images,
            'total': 2 * images if subset else images,
            'subset': subset,
            'sha256': '0' * 64,
            'images_sha256': '1' * 64,
        },
        models=[
            {
                'name': name,
                'parameters': 1000,
                'weights_sha256': hashlib.sha256(name.encode()).hexdigest(),
                'preprocessing': {'input_size': [3, 32, 32], 'crop_pct': 1.0, 'interpolation': 'bicubic'},
                'class_mapping': {str(label): label for label in range(10)},
            }
            for name in models
        ],
        cells=[
            PlannedCell(name, suite, Condition(*condition), f'{name} {Condition(*condition)}')
            for name in models
            for condition in conditions
        ],
    )


def made(models, conditions, *, failed=(), **options):
    """Plan, rows and analysis of a run.

    Args:
        models: The cells of each model; those that are not planned are dropped.
        conditions: (corruption, level, seed) of every planned cell of a model.
        failed: Names of models whose missing cells count as failed.
        options: Of ``made_plan``.
    """
    plan = made_plan(models, conditions, **options)
    wanted = set(conditions)
    cells = {name: [c for c in own if c.condition in wanted] for name, own in models.items()}
    have = {(c.model, c.condition): c.result for own in cells.values() for c in own}
    rows = []
    for cell in plan.cells:
        result = have.get((cell.model, cell.condition))
        means = dict.fromkeys(FIGURES, 0.0)
        status = 'ok' if result else 'failed' if cell.model in failed else 'missing'
        rows.append(Row(cell, status, means if result else {}, '' if result else f'no <b>{status}</b>', 1.0, 'cpu'))
    return plan, rows, analyse_cells(list(models), cells.__getitem__, plan, resamples=200)


def whole(names, suite='zerosnet', seeds=(0, 1), corruptions=None, levels=None, **options):
    """Plan, rows and analysis of whole runs of models that differ in skill; models in ``failed`` have no result."""
    conditions = plan_conditions(suite, corruptions, levels, seeds)
    models = {}
    for i, name in enumerate(names):
        models[name] = (
            []
            if name in options.get('failed', ())
            else whole_run(name, skill=1 - 0.04 * (i % 6), seeds=seeds, seed=i // 3, suite=suite)
        )
        clean = models[name][:1]
        models[name] += [
            replace(c, **condition._asdict())
            for c in clean
            for condition in conditions
            if condition.corruption != CLEAN and not condition.level
        ]
    return made(models, conditions, suite=suite, **options)


NAMES = (
    'convnext_base.fb_in22k_ft_in1k deit3_base_patch16_224.fb_in22k_ft_in1k swin_base_patch4_window7_224.ms_in22k '
    'vit_base_patch16_224.augreg_in21k_ft_in1k convnext_tiny.in12k_ft_in1k maxvit_tiny_tf_224.in1k beit_base.in22k '
    'efficientnet_b4.ra2_in1k resnetv2_50x1_bit.goog_in21k_ft_in1k resnet152.a1h_in1k regnety_032.ra_in1k '
    'resnet101.a1h_in1k seresnet50.ra2_in1k resnet50.a1_in1k resnext50_32x4d.a1h_in1k densenet161.tv_in1k '
    'mobilenetv3_large_100.ra_in1k resnet34.a1_in1k resnet18.a1_in1k vgg16.tv_in1k'
).split()
OFFICIAL_NAMES = (  # the fifteen of the benchmark and the four extra ones
    'gaussian_noise shot_noise impulse_noise defocus_blur glass_blur motion_blur zoom_blur snow frost fog brightness '
    'contrast elastic_transform pixelate jpeg_compression speckle_noise gaussian_blur spatter saturate'
).split()


def official_conditions(corruptions=OFFICIAL_NAMES, levels=(1.0, 2.0, 3.0, 4.0, 5.0)):
    """The conditions of a run on the official files: nothing in them is random."""
    return [Condition(CLEAN, 0.0, None), *(Condition(name, level, None) for name in corruptions for level in levels)]


def many_models(names=NAMES, conditions=None, images=200, suite='official'):
    """Cells of models that are better the earlier they are named; neighbours differ in nothing but chance.

    Args:
        names: Names of the models.
        conditions: Conditions that every model is measured under; default: those of the official files.
        images: Number of images.
        suite: Name of the suite.
    """
    conditions = official_conditions() if conditions is None else conditions
    generator = np.random.default_rng(0)
    ease = generator.normal(0, 1, images)
    corruptions = list(dict.fromkeys(name for name, *_ in conditions if name != CLEAN))
    found = {}
    for i, name in enumerate(names):
        shift = -1.3 + 1.2 * (i // 2 * 2) / len(names)
        taste = dict(zip(corruptions, generator.normal(0, 0.12, len(corruptions)), strict=True))
        found[name] = []
        for corruption, level, seed in conditions:
            harm = 0.0
            if corruption != CLEAN:
                harm = (0.25 + 0.5 * (3 * corruptions.index(corruption) % 7) / 7) * level + taste[corruption]
            right = ease + generator.normal(0, 0.5, images) > shift + harm
            confidence = np.clip(0.5 + 0.25 * ease + generator.normal(0, 0.1, images), 0.11, 0.999)
            result = evaluation(right, confidence=confidence)
            found[name].append(Cell(name, suite, corruption, level, seed, result))
    return found


def twenty(**options):
    """Plan, rows and analysis of twenty models in the reverse of their order; one of them lacks a corruption."""
    conditions = official_conditions(levels=(1.0, 3.0, 5.0))
    models = many_models(conditions=conditions, images=120)
    models['vgg16.tv_in1k'] = [c for c in models['vgg16.tv_in1k'] if c.corruption != 'contrast']
    baseline = 'resnet50.a1_in1k'
    models = dict(reversed(models.items()))
    return made(models, conditions, suite='official', baseline=baseline, **options)


def samples(suite='zerosnet', side=32, channels=3, corruptions=None, levels=None):
    size = 32 if suite != 'imagenet-c' else side
    images = np.random.default_rng(0).integers(0, 256, (2, size, size, channels), dtype=np.uint8)
    config = dict(
        input_size=(channels, size, size),
        crop_pct=1.0,
        interpolation='bilinear',
        crop_mode='center',
        mean=(0.5,) * channels,
    )
    return sample_pictures('a', images, config, suite, plan_conditions(suite, corruptions, levels))


CASES = {
    'one model': lambda: (*whole(['a']), samples()),
    'three models': lambda: (*whole(['a', 'b', 'c'], baseline='b'), samples()),
    'twelve models': lambda: (
        *whole([f'net{i}.data_seed{i % 3}' for i in range(10)] + [SCRIPT, LONG], subset='first 200 of 400'),
        samples(),
    ),
    'five models': lambda: (*whole([f'net{i}' for i in range(5)]), samples()),
    'twenty models': lambda: (*twenty(), samples('imagenet-c', side=224)),
    'one level': lambda: (*whole([SCRIPT, 'b'], corruptions=['randn'], levels=[0.1]), samples(levels=[0.1])),
    'level 0': lambda: (*whole(['a', 'b'], corruptions=['randn'], levels=[0.0, 0.1]), samples(levels=[0.0, 0.1])),
    'cifar-c': lambda: (*whole(['a', 'b'], suite='cifar-c'), samples('cifar-c')),
    'imagenet-c': lambda: (*whole(['a', LONG], suite='imagenet-c'), samples('imagenet-c', side=224)),
    'grey': lambda: (*whole(['a', 'b']), samples(channels=1)),
    'a model failed': lambda: (*whole(['a', SCRIPT, 'c'], failed=[SCRIPT]), samples()),
    'nothing': lambda: (*whole([SCRIPT], failed=[SCRIPT]), None),
    'clean alone': lambda: (*whole(['a', 'b'], corruptions=[CLEAN]), None),
}


@functools.cache
def built(case):
    return CASES[case]()


@functools.cache
def page(case):
    return report_html(*built(case))
