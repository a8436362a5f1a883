"""Where things of the tests lie."""

from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
ROOT = TESTS.parent
STAND_IN = TESTS / 'support' / 'stand_in'
"""Stand-ins for timm's train.py and validate.py."""
CIFAR10_SAMPLE = TESTS / 'data' / 'cifar10_test_200.npz'
"""The first 200 test images of CIFAR-10."""
