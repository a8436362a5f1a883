"""Lets a bare ``import timm`` find the models of timm_zerosnet.

``install`` is an entry point of the group ``torch.backends``, which torch 2.5 and later calls at the end of
``import torch``. All it does there is to leave an import hook behind: right after ``timm.models`` has been executed the
hook imports the plugin and is gone. ``TIMM_ZEROSNET_AUTOLOAD=0`` turns it off.

Standard library only, and a top-level module: whatever fails here makes ``import torch`` fail.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import warnings
from typing import TYPE_CHECKING, Any, Sequence

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType

PLUGIN = 'timm_zerosnet'
PACKAGE, TARGET = 'timm', 'timm.models'
SWITCH = 'TIMM_ZEROSNET_AUTOLOAD'


def install() -> None:
    """Have the plugin imported right after ``timm.models``, at once if that is there already."""
    if os.environ.get(SWITCH) == '0' or any(isinstance(finder, _Hook) for finder in sys.meta_path):
        return
    # a submodule is bound in its package once it has been executed
    if TARGET in sys.modules and 'models' in getattr(sys.modules.get(PACKAGE), '__dict__', {}):
        _import_plugin()
    else:
        sys.meta_path.insert(0, _Hook())


def command() -> int:
    """``timm-zerosnet``, which says in one line why the package cannot be imported, such as a damaged manifest."""
    try:
        from timm_zerosnet.cli import main
    except KeyboardInterrupt:  # the import takes seconds
        print('interrupted', file=sys.stderr)
        return 130
    except Exception as error:
        print(f'timm-zerosnet: {error}', file=sys.stderr)
        return 2
    return main()


class _Hook:
    """Meta path finder of ``timm.models`` alone, which it finds by asking the finders after it."""

    asking = False

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        # other hooks may ask this one in turn: those before it are not asked again, those after it get no answer
        if name != TARGET or self.asking or self not in sys.meta_path:
            return None
        self.asking = True
        try:
            for finder in sys.meta_path[sys.meta_path.index(self) + 1 :]:
                spec = finder.find_spec(name, path, target) if hasattr(finder, 'find_spec') else None
                if spec is not None:
                    if hasattr(spec.loader, 'exec_module'):
                        spec.loader = _Loader(spec.loader, self)  # type: ignore[assignment]
                    return spec
        finally:
            self.asking = False
        return None


class _Loader:
    """Another loader, after whose module the plugin is imported."""

    def __init__(self, loader: Any, hook: _Hook):
        self.loader, self.hook = loader, hook

    def __getattr__(self, name: str) -> Any:
        # not self.loader: a copy or an unpickled object has no such attribute yet
        return getattr(object.__getattribute__(self, 'loader'), name)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = module.__spec__.loader = self.loader  # type: ignore[union-attr]
        self.loader.exec_module(module)
        if PACKAGE in sys.modules:  # the import system binds it a moment later, which is too late for the plugin
            vars(sys.modules[PACKAGE])['models'] = sys.modules.get(TARGET, module)
        _import_plugin()
        if self.hook in sys.meta_path:
            sys.meta_path.remove(self.hook)


def _import_plugin() -> None:
    if PLUGIN in sys.modules:  # it is what imports timm right now, or the program has blocked it
        return
    try:
        importlib.import_module(PLUGIN)
    except BaseException as error:
        for name in [name for name in sys.modules if name.split('.')[0] == PLUGIN]:
            del sys.modules[name]
        if not isinstance(error, (Exception, SystemExit)):
            raise
        _report(
            f'timm-zerosnet: timm does not know its models, because `import {PLUGIN}` failed with '
            f'{type(error).__name__}: {error}. {SWITCH}=0 turns this automatic import off.'
        )


def _report(message: str) -> None:
    try:
        warnings.warn(message, RuntimeWarning, stacklevel=1)
    except Exception:  # where warnings are errors, import timm has to work all the same
        with contextlib.suppress(Exception):
            print(message, file=sys.stderr)
