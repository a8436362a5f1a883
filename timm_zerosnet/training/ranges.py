"""Values that timm's scripts would take and get wrong, or end on in a traceback that does not name the argument."""

from __future__ import annotations

import argparse
import math

from PIL import Image

from .._errors import ScriptError
from ..recorded import INTERPOLATIONS

_FROM_1 = 'epochs batch_size img_size val_interval log_interval log_freq checkpoint_hist lr_base_size'
_FROM_0 = (
    'workers validation_batch_size start_epoch warmup_epochs cooldown_epochs patience_epochs lr_cycle_limit min_lr '
    'warmup_lr weight_decay decay_rate opt_eps color_jitter'
)
_SHARES = (
    'drop drop_path drop_block hflip vflip grayscale_prob reprob smoothing mixup_prob mixup_switch_prob bn_momentum '
    'model_ema_decay'
)
RANGES = {
    **dict.fromkeys(_FROM_1.split(), (1, math.inf)),
    **dict.fromkeys(_FROM_0.split(), (0, math.inf)),
    **dict.fromkeys(_SHARES.split(), (0, 1)),
    'seed': (0, 2**32 - 1),  # of numpy
}
"""The least and the largest value of each argument."""
ABOVE_0 = ('lr', 'clip_grad', 'crop_pct', 'std')
"""Those that are above 0: for 0 the scripts take another value without a word, train nothing, or divide by it."""
CHOICES = {
    'interpolation': ('', *INTERPOLATIONS),
    'train_interpolation': ('', *INTERPOLATIONS, 'random'),
    'eval_metric': ('top1', 'top5', 'loss'),
    'mixup_mode': ('batch', 'pair', 'elem'),
    'lr_base_scale': ('', 'linear', 'sqrt'),
    'crop_mode': ('center', 'squash', 'border'),
    'input_img_mode': Image.MODES,
}
"""The values of arguments for which the scripts take any text, but then do what nobody asked for, or end late."""


def check_values(args: argparse.Namespace) -> None:
    """Refuse values that an argument cannot have.

    Args:
        args: The arguments of train.py or validate.py.

    Raises:
        ScriptError: naming the argument, what was expected and what it got.
    """
    for option, value in vars(args).items():
        numbers = [x for x in (value if isinstance(value, (list, tuple)) else [value]) if isinstance(x, (int, float))]
        if not all(math.isfinite(number) for number in numbers if isinstance(number, float)):
            raise _wrong(option, 'finite', value)
        least, most = RANGES.get(option, (-math.inf, math.inf))
        if not all(least <= number <= most for number in numbers):
            raise _wrong(option, f'at least {least}' if most == math.inf else f'from {least} to {most}', value)
        if option in ABOVE_0 and any(number <= 0 for number in numbers):
            raise _wrong(option, 'above 0', value)
        if value is not None and value not in (choices := CHOICES.get(option, (value,))):
            raise _wrong(option, f'{", ".join(filter(None, choices[:-1]))} or {choices[-1]}', value)
    if getattr(args, 'gp', None) == '':
        raise _wrong('gp', 'a kind of pooling, such as avg, or left out', "''")


def _wrong(option: str, expected: str, got: object) -> ScriptError:
    got = ' '.join(map(str, got)) if isinstance(got, (list, tuple)) else got
    return ScriptError(f'expected --{option.replace("_", "-")} to be {expected}, got {got}')
