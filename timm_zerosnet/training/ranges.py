"""Values that timm's scripts would take and get wrong, or end on in a traceback that does not name the argument."""

from __future__ import annotations

import argparse
import math

from timm.data.transforms import str_to_pil_interp

from .._errors import ScriptError

_FROM_1 = 'epochs batch_size grad_accum_steps val_interval log_interval log_freq checkpoint_hist recount'
_FROM_0 = (
    'workers validation_batch_size start_epoch seed warmup_epochs cooldown_epochs patience_epochs lr_cycle_limit '
    'min_lr warmup_lr weight_decay decay_rate opt_eps clip_grad mixup cutmix'
)
_SHARES = (
    'crop_pct drop drop_path drop_block hflip vflip reprob smoothing mixup_prob mixup_switch_prob bn_momentum '
    'model_ema_decay'
)
RANGES = {
    **dict.fromkeys(_FROM_1.split(), (1, math.inf)),
    **dict.fromkeys(_FROM_0.split(), (0, math.inf)),
    **dict.fromkeys(_SHARES.split(), (0, 1)),
}
"""The least and the largest value of each argument."""
METRICS = ('top1', 'top5', 'loss')
"""What train.py measures on the validation split."""


def check_values(args: argparse.Namespace) -> None:
    """Refuse values that an argument cannot have.

    Args:
        args: The arguments of train.py or validate.py.

    Raises:
        ScriptError: naming the argument, what was expected and what it got.
    """
    for option, value in vars(args).items():
        numbers = [x for x in (value if isinstance(value, (list, tuple)) else [value]) if isinstance(x, (int, float))]
        if not all(map(math.isfinite, numbers)):
            raise _wrong(option, 'finite', value)
        least, most = RANGES.get(option, (-math.inf, math.inf))
        if not all(least <= number <= most for number in numbers):
            raise _wrong(option, f'at least {least}' if most == math.inf else f'from {least} to {most}', value)
    if any(deviation <= 0 for deviation in getattr(args, 'std', None) or ()):
        raise _wrong('std', 'above 0', args.std)
    for option in ('scale', 'ratio'):
        if (pair := getattr(args, option, None)) and not (len(pair) == 2 and 0 < pair[0] <= pair[1]):
            raise _wrong(option, 'two numbers 0 < LOW <= HIGH', pair)
    for option in ('interpolation', 'train_interpolation'):
        name = getattr(args, option, None)
        try:
            if name and not (name == 'random' and option == 'train_interpolation'):
                str_to_pil_interp(name)
        except KeyError as error:
            raise _wrong(option, 'bilinear, bicubic, lanczos, nearest, box or hamming', name) from error
    if getattr(args, 'gp', None) == '':
        raise _wrong('gp', 'a kind of pooling, such as avg', "''")
    if (metric := getattr(args, 'eval_metric', METRICS[0])) not in METRICS:
        raise _wrong('eval_metric', f'{", ".join(METRICS[:-1])} or {METRICS[-1]}', metric)


def _wrong(option: str, expected: str, got: object) -> ScriptError:
    got = ' '.join(map(str, got)) if isinstance(got, (list, tuple)) else got
    return ScriptError(f'expected --{option.replace("_", "-")} to be {expected}, got {got}')
