"""``python -m timm_zerosnet.validate [validate.py arguments]``: timm's validate.py, on the CPU if need be."""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path
from typing import Any

import timm

from ._errors import ScriptError
from ._files import check_output, writing
from .checkpoint import check_readable, trained_model
from .model_names import is_outside, script_arguments
from .pretrained_arguments import preprocessing_options
from .recorded import checkpoint_preprocessing, recorded_arguments, say_recorded
from .training.data_checks import check_data
from .training.preflight import check_checkpoint, check_images, check_network, check_positional, check_pretrained
from .training.ranges import check_values
from .training.scripts import find_script, launch, parse, run_script, script_parser, take_scripts_option, with_device

USAGE = """usage: timm-zerosnet validate --model NAME [--timm-scripts DIR] [arguments of timm's validate.py]

Runs timm's unmodified validate.py. Unless --timm-scripts or the environment variable TIMM_SCRIPTS names a folder, the
script of the installed timm's release is downloaded once.

--model may be left out beside --checkpoint FILE if the checkpoint says what it is of, as those of train.py do.

example: timm-zerosnet validate --model zerosnet20 --pretrained --data-dir cifar10 --split validation"""


def _run(arguments: list[str]) -> None:
    folder, arguments = take_scripts_option(arguments)
    script = find_script('validate.py', folder)
    parser = script_parser(script)
    parser.prog = 'timm-zerosnet validate'
    parser.set_defaults(model=None)  # timm's default is some network that nobody asked for
    args = parse(parser, arguments)
    check_positional(args)
    if args.model is None:
        name = _named_by(args.checkpoint)
        arguments = [*arguments, '--model', name]
        args = parse(parser, arguments)
    if not args.model.strip():
        raise ScriptError(f"--model {args.model!r}: expected a name of timm's, such as zerosnet20")
    if args.results_file:
        _check_results_file(Path(args.results_file))
    if args.checkpoint:
        arguments = _as_trained(arguments, args)
        args = parse(parser, arguments)
    check_values(args)
    if not _names_several(args.model):
        if not args.checkpoint:  # without one timm takes the pretrained weights, asked for or not
            check_pretrained(args, new_head=False)
        check_images(args)
        check_data(args, {'split': args.split})
        check_network(args)
        check_checkpoint(args, 'checkpoint')
    run_script(script, with_device(script_arguments(arguments, args), args))


def _named_by(checkpoint: str) -> str:
    """The model that a checkpoint says it is of, which is said on stderr.

    Raises:
        ScriptError: for a file that says none, a folder, or no checkpoint.
    """
    path = Path(checkpoint)
    if checkpoint and not path.is_dir():
        check_readable(path)
        if name := trained_model(path):
            print(f'timm-zerosnet: {path} says it is of {name}: measured as --model {name}', file=sys.stderr)
            return name
    why = f': {path} does not say what it is of' if checkpoint else ''
    raise ScriptError(f'no model{why}: give --model NAME, such as --model zerosnet20')


def _as_trained(arguments: list[str], args: argparse.Namespace) -> list[str]:
    """Add the pooling and the preprocessing that a checkpoint was trained with, where the user gave none.

    Raises:
        ScriptError: for a folder of checkpoints that were not all trained alike.
    """
    path, given = Path(args.checkpoint), {**vars(args), 'input_size': args.input_size or args.img_size}
    added: dict[str, Any] = {}
    for i, file in enumerate(sorted(path.glob('*.pth*')) if path.is_dir() else [path]):
        pooling = (recorded_arguments(file, args.model) or {}).get('global_pool')
        recorded = {'gp': pooling, **checkpoint_preprocessing(file, args.model, args.model_kwargs)}
        found = {key: value for key, value in recorded.items() if value and not given[key]}
        if i and found != added:
            names = ', '.join(sorted(f'--{key.replace("_", "-")}' for key in {*found, *added}))
            raise ScriptError(f'{path}: its checkpoints were trained with several values of {names}: name one file')
        added = found
    say_recorded(path, {}, {}, added)
    return [*arguments, *itertools.chain(*preprocessing_options(added))]


def _names_several(model: str) -> bool:
    """Whether validate.py takes a model's name for all of timm's, for a pattern, or for a file of names."""
    if is_outside(model) or timm.is_model(model):
        return False
    if Path(model).is_file():
        try:
            Path(model).read_text()
        except UnicodeDecodeError as error:
            raise ScriptError(
                f'--model {model}: expected a name, or a file with a name in each line; --model NAME --checkpoint '
                f'{model} measures weights'
            ) from error
        return True
    return model == 'all' or bool(timm.list_models(model, pretrained=True))


def _check_results_file(path: Path) -> None:
    """Refuse a results file that cannot be written; timm's script opens it when everything has been measured.

    Raises:
        OutputError: for a full device, a folder, or a file in a folder that is not there or cannot be written to.
    """
    if path.is_file() or path.is_char_device():
        with writing(path), open(path, 'ab', buffering=0) as file:
            file.write(b'')  # enough for /dev/full, and nothing that /dev/stdout would show
    elif path.is_dir() or not path.exists():  # a pipe is left alone: its reader would take this for the end
        check_output(path, ())


def main(arguments: list[str] | None = None) -> int:
    """Run the launcher; returns the exit code."""
    return launch('validate', USAGE, arguments, _run)


if __name__ == '__main__':
    sys.exit(main())
