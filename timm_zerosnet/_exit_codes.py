"""How every command ends: its exit code, and one line on stderr for what its user can put right."""

from __future__ import annotations

import dis
import io
import os
import sys
from typing import Callable

import torch
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, OfflineModeIsEnabled

from ._errors import one_line
from ._files import explain, flush_stdout


def exit_code(command: str, work: Callable[[], int | None]) -> int:
    """Run a command and turn what it raises for bad input into its exit code.

    Args:
        command: What the line on stderr begins with, such as ``'timm-zerosnet train'``.
        work: Does the work; its result is the exit code, None stands for 0.

    Returns:
        The result of ``work``; 2 for an error that the message explains, 130 when interrupted, 141 when the reader of
        its output has gone. Anything else is a bug, and is raised with its traceback.
    """
    if sys.stdout is None:  # it was closed
        sys.stdout = open(os.devnull, 'w')
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors='backslashreplace')  # a terminal need not know every character
    try:
        try:
            return work() or 0
        finally:  # also after --help
            flush_stdout()
    except BrokenPipeError:
        return 141
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        return 130
    except (HfHubHTTPError, EntryNotFoundError, OfflineModeIsEnabled) as error:
        message = f'the weights cannot be had from the Hub: {one_line(error)}'
    except OSError as error:
        message = explain(error)
    except (RuntimeError, ValueError) as error:
        if not isinstance(error, torch.OutOfMemoryError) and not _is_refusal(error):
            raise
        message = str(error) or type(error).__name__  # timm raises some without a word
    print(f'{command}: {message}', file=sys.stderr)
    return 2


def _is_refusal(error: BaseException) -> bool:
    """Whether a ``raise`` statement of this package, of timm or of a script of timm's refused its input.

    A bug ends in the same kinds of errors: ``max([])``, or a shape that torch does not take. Its traceback ends in
    another instruction or another package.
    """
    last = error.__traceback__
    while last and last.tb_next:
        last = last.tb_next
    if last is None:
        return False
    package = last.tb_frame.f_globals.get('__name__', '').partition('.')[0]
    raised = dis.opname[last.tb_frame.f_code.co_code[last.tb_lasti]] == 'RAISE_VARARGS'
    return raised and package in ('timm_zerosnet', 'timm', '__main__')
