"""CIFAR-10 and CIFAR-100: labels, normalisation, and timm's configuration of networks trained on them."""

from __future__ import annotations

from typing import Any

CIFAR10_LABELS = tuple(
    """
    airplane automobile bird cat deer dog frog horse ship truck
""".split()
)

CIFAR100_LABELS = tuple(
    """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
    castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
    elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard
    lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear
    pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark
    shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone
    television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
""".split()
)

DATA_SETS: dict[str, dict[str, Any]] = {
    'cifar100': dict(
        num_classes=100, mean=(0.5071, 0.4867, 0.4408), std=(0.2675, 0.2565, 0.2761), label_names=CIFAR100_LABELS
    ),
    'cifar10': dict(
        num_classes=10, mean=(0.4914, 0.4822, 0.4465), std=(0.2023, 0.1994, 0.2010), label_names=CIFAR10_LABELS
    ),
}

DEVIATIONS = {  # what each ``std`` above is; both are the customary figures, which the weights were trained with
    'cifar100': 'of all pixels',
    'cifar10': 'within an image, averaged over the images (those of all pixels are larger: 0.2470, 0.2435, 0.2616)',
}


def cifar_config(tag: str) -> dict[str, Any]:
    """The part of timm's configuration of a network that follows from its training data.

    Args:
        tag: The network's tag, such as ``cifar10`` or ``cifar10_seed1``.
    """
    return dict(input_size=(3, 32, 32), crop_pct=1.0, interpolation='bilinear', **DATA_SETS[tag.split('_')[0]])
