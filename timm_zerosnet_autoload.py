"""Lets a bare ``import timm`` find the models of a plugin, here those of timm_zerosnet.

``install`` is an entry point of the group ``torch.backends``, which torch 2.5 and later calls at the end of
``import torch``. All it does there is to leave an import hook behind: right after ``timm.models`` has been executed,
the hook imports the plugin and removes itself. ``TIMM_ZEROSNET_AUTOLOAD=0`` turns it off.

It uses the standard library alone, and is a top-level module: whatever fails here makes ``import torch`` fail, and a
submodule of the plugin would import the plugin's package within ``import torch``.

Another plugin can use a copy of this file, named after itself: it changes ``PLUGIN`` and ``NETWORKS``, leaves out
``command``, and names the copy in its pyproject.toml::

    [project.entry-points."torch.backends"]
    my_plugin = "my_plugin_autoload:install"
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import threading
import traceback
import warnings
from typing import TYPE_CHECKING, Any, Sequence

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType

PLUGIN = 'timm_zerosnet'
"""The package to import."""
NETWORKS = 'zerosnet'
"""Its module that registers the models with timm."""

TITLE = PLUGIN.replace('_', '-')
"""What messages begin with."""
SWITCH = f'{PLUGIN.upper()}_AUTOLOAD'
"""The environment variable that turns the hook off if it is 0."""
PACKAGE, MODELS = 'timm', 'models'
TARGET = f'{PACKAGE}.{MODELS}'


def install() -> None:
    """Have the plugin imported right after ``timm.models``, at once if that is there already."""
    if os.environ.get(SWITCH) == '0' or any(isinstance(finder, _Hook) for finder in sys.meta_path):
        return
    package = sys.modules.get(PACKAGE)
    # a submodule is bound in its package once it has been executed
    if TARGET in sys.modules and MODELS in getattr(package, '__dict__', {}):
        _import_plugin()
        return
    hook = _Hook()
    sys.meta_path.insert(0, hook)
    if package is not None:  # another thread may have found timm.models before this and wait for torch inside it
        hook.watch(package)


class _Hook:
    """A meta path finder for ``timm.models`` alone, which it finds by asking the finders after it."""

    def __init__(self) -> None:
        self.asking: set[int] = set()

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        # other hooks may ask this one in turn: those before it are not asked again, those after it get no answer
        thread = threading.get_ident()
        if name != TARGET or thread in self.asking or self not in sys.meta_path:
            return None
        self.asking.add(thread)
        try:
            for finder in sys.meta_path[sys.meta_path.index(self) + 1 :]:
                spec = finder.find_spec(name, path, target) if hasattr(finder, 'find_spec') else None
                if spec is not None:
                    if hasattr(spec.loader, 'exec_module'):
                        spec.loader = _Loader(spec.loader, self)  # type: ignore[assignment]
                    return spec
        finally:
            self.asking.discard(thread)
        return None

    def watch(self, package: ModuleType) -> None:
        """Fire when ``timm.models`` is bound in its package: that follows its execution, whoever has found it."""
        kind = type(package)
        with contextlib.suppress(TypeError):  # the class of this module cannot be changed: the finder alone has to do

            class Watched(kind):  # type: ignore[misc, valid-type]
                def __setattr__(module, name: str, value: Any) -> None:
                    super().__setattr__(name, value)
                    if name == MODELS:
                        module.__class__ = kind  # type: ignore[assignment]
                        if getattr(value, '__file__', None):  # a namespace package has no code
                            self.fire_late(value)

            package.__class__ = Watched

    def fire_late(self, models: ModuleType) -> None:
        """Fire when ``timm.models`` counts as complete, without letting other threads use it before that."""
        spec = getattr(models, '__spec__', None)
        if spec is None:
            return
        spec._initializing = True  # others then wait for the import lock, which this thread still holds
        try:
            self.fire()
        finally:
            spec._initializing = False

    def fire(self) -> None:
        """Import the plugin, unless that has been done, and remove the hook."""
        if self not in sys.meta_path:  # it has been done, or the program has taken the hook out
            return
        try:
            _import_plugin()
        except BaseException:
            sys.modules.pop(TARGET, None)  # as after any import that fails, so that the next one begins anew
            raise
        with contextlib.suppress(ValueError):
            sys.meta_path.remove(self)


class _Loader:
    """A loader that has another one execute the module, and imports the plugin afterwards."""

    def __init__(self, loader: Any, hook: _Hook):
        self.loader, self.hook = loader, hook

    def __getattr__(self, name: str) -> Any:
        # not self.loader: a copy or an unpickled object has no such attribute yet
        return getattr(object.__getattribute__(self, 'loader'), name)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = module.__spec__.loader = self.loader  # type: ignore[union-attr]
        self.loader.exec_module(module)
        if PACKAGE in sys.modules:  # the import system binds it a moment later, which is too late for the plugin
            vars(sys.modules[PACKAGE])[MODELS] = sys.modules.get(TARGET, module)
        self.hook.fire()


def _import_plugin() -> None:
    """Import the plugin and have it register its models, also where another thread is importing it.

    That thread may hold the import lock of the plugin and wait for that of timm, which this thread holds. It is then at
    the first line of the plugin, so that this thread can import the networks by itself, which registers them.
    """
    if sys.modules.get(PLUGIN, PLUGIN) is None:  # the program has blocked it
        return
    before = PLUGIN in sys.modules  # another thread imports it, or it is what imports timm
    try:
        # import_module would raise where another thread has imported a part and waits; __import__ takes that part
        __import__(PLUGIN)
        importlib.import_module(f'{PLUGIN}.{NETWORKS}')
    except BaseException as error:
        for name, module in [] if before else list(sys.modules.items()):
            # what another thread is importing at this moment is left to that thread
            if name.split('.')[0] == PLUGIN and not getattr(getattr(module, '__spec__', None), '_initializing', False):
                sys.modules.pop(name, None)
        if not isinstance(error, (Exception, SystemExit)):
            raise
        if any(frame.f_globals.get('__name__') == PLUGIN for frame, _ in traceback.walk_stack(None)):
            return  # the plugin is what imports timm, and is about to meet the same error
        blocked = before and 'deadlock' in str(error)
        _report(
            f'{TITLE}: timm does not know its models, because `import {PLUGIN}` failed with {_causes(error)}. '
            + (
                f'Another thread is importing it: import {PLUGIN} once before starting threads. '
                if blocked
                else f'`python -c "import {PLUGIN}"` shows the traceback. '
            )
            + f'{SWITCH}=0 turns this automatic import off.'
        )


def _causes(error: BaseException) -> str:
    """An error and its causes in one line, without a full stop at the end."""
    texts: list[str] = []
    seen: list[BaseException] = []
    step: BaseException | None = error
    while step is not None and step not in seen:
        seen.append(step)
        try:
            message = ' '.join(str(step).split()).rstrip('. ')
        except Exception:
            message = ''
        texts.append(f'{type(step).__name__}{": " if message else ""}{message}')
        step = step.__cause__ or (None if step.__suppress_context__ else step.__context__)
    return ', caused by '.join(texts)


def _report(message: str) -> None:
    try:
        warnings.warn(message, RuntimeWarning, stacklevel=1)
    except Exception:  # where warnings are errors, import timm has to work all the same
        with contextlib.suppress(Exception):
            print(message, file=sys.stderr)


def command() -> int:
    """The ``timm-zerosnet`` command, which says in one line why its package cannot be imported."""
    try:
        from timm_zerosnet.cli import main
    except KeyboardInterrupt:  # the import takes seconds
        print('interrupted', file=sys.stderr)
        return 130
    except Exception as error:
        print(f'timm-zerosnet: {error}', file=sys.stderr)
        return 2
    return main()
