"""Autoload: a bare ``import timm`` knows our models, and whatever goes wrong breaks neither torch nor timm.

The first part runs the hook of the installed wheel between stand-ins for torch, timm and the plugin, in milliseconds;
the second part runs the real ones.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

import amounts
import pytest
from conftest import ROOT, Environment, execute

OFF = 'TIMM_ZEROSNET_AUTOLOAD=0'

STAND_INS = {
    'torch/__init__.py': """
from importlib.metadata import entry_points
for point in entry_points(group='torch.backends'):
    point.load()()
""",
    'timm/__init__.py': 'from . import layers\nfrom .models import list_models\n',
    'timm/layers.py': 'import torch\n',
    'timm/tool.py': 'import timm\nprint(timm.list_models())\n',
    'timm/models/__init__.py': 'from ._registry import list_models, register\n',
    'timm/models/_registry.py': """
names = []
register = names.append
def list_models():
    return list(names)
""",
    'timm_zerosnet/__init__.py': 'import timm\nfrom . import numerics, zerosnet\n',
    'timm_zerosnet/zerosnet.py': 'import timm.models\nfrom . import zoo\ntimm.models.register(zoo.name)\n',
    'timm_zerosnet/numerics.py': '',
    'timm_zerosnet/zoo.py': 'name = "zerosnet20"\n',
}

NAMES_AND_HOOKS = """
import sys, timm
result = [timm.list_models(), [f for f in sys.meta_path if type(f).__module__ == 'timm_zerosnet_autoload']]
"""


class StandIns:
    """The stand-ins in a folder, which the hook finds before everything installed."""

    def __init__(self, folder: Path, installed: Environment):
        self.folder, self.installed, self.path = folder, installed, [folder, installed.site]
        for name, text in STAND_INS.items():
            self.write(name, text)

    def write(self, name: str, text: str) -> None:
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_text(text, encoding='utf-8')

    def result(self, code: str, *flags: str, **environment: str) -> Any:
        return self.installed.result(code, '-S', *flags, path=self.path, **environment)

    def execute(self, *arguments: str, **environment: str):
        return execute(
            [self.installed.python, '-S', *arguments],
            self.installed.empty,
            PYTHONPATH=os.pathsep.join(map(str, self.path)),
            **environment,
        )


@pytest.fixture
def stand_ins(tmp_path: Path, installed: Environment) -> StandIns:
    return StandIns(tmp_path / 'stand_ins', installed)


@pytest.mark.parametrize(
    'first',
    [
        'import timm',
        'import timm.models',
        'from timm.models import register',
        'import torch, timm',
        'import timm_zerosnet',
        'import timm_zerosnet.zoo, torch',
    ],
)
def test_order_of_imports_does_not_matter(stand_ins, first):
    assert stand_ins.result(first + NAMES_AND_HOOKS) == [['zerosnet20'], []]


def _folder(stand_ins: StandIns) -> str:
    return ''


def _zip(stand_ins: StandIns) -> str:
    shutil.move(stand_ins.folder / 'timm', stand_ins.folder / 'zip' / 'timm')
    stand_ins.path.insert(0, Path(shutil.make_archive(str(stand_ins.folder / 'timm'), 'zip', stand_ins.folder / 'zip')))
    return 'import inspect, timm; assert "register" in inspect.getsource(timm.models)'


def _replaced(stand_ins: StandIns) -> str:
    text = STAND_INS['timm/models/__init__.py'].replace('register', 'register as later')
    stand_ins.write(
        'timm/models/__init__.py',
        text
        + """
import sys, types
class Lazy(types.ModuleType):
    register = property(lambda self: later)
lazy = Lazy(__name__)
lazy.__dict__.update({key: value for key, value in globals().items() if key.startswith('__') or key == 'list_models'})
sys.modules[__name__] = lazy
""",
    )
    return ''


def _bare_loader(stand_ins: StandIns) -> str:
    (stand_ins.folder / 'timm' / 'models' / '__init__.py').unlink()
    return f"""
import importlib.machinery, sys
class Bare:
    __slots__ = ()
    def create_module(self, spec): pass
    def exec_module(self, module): exec({STAND_INS['timm/models/__init__.py']!r}, vars(module))
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == 'timm.models':
            spec = importlib.machinery.ModuleSpec(name, Bare(), is_package=True)
            spec.submodule_search_locations += [path[0] + '/models']
            return spec
class Legacy:
    def find_module(self, name, path=None): pass
sys.meta_path[:0] = [Legacy(), Finder()]
"""


def _hook_behind(stand_ins: StandIns) -> str:
    return """
import sys
class Asks:
    asked = False
    def find_spec(self, name, path=None, target=None):
        if name == 'timm.models':
            assert not self.asked
            self.asked = True
            found = (finder.find_spec(name, path, target) for finder in sys.meta_path if finder is not self)
            return next(filter(None, found), None)
sys.meta_path.insert(0, Asks())
import torch
assert type(sys.meta_path[1]) is Asks
"""


def _hook_in_front(stand_ins: StandIns) -> str:
    return _hook_behind(stand_ins) + 'sys.meta_path.insert(0, sys.meta_path.pop(1))\n'


@pytest.mark.parametrize('prepare', [_folder, _zip, _replaced, _bare_loader, _hook_behind, _hook_in_front])
def test_any_loader_of_timm_will_do(stand_ins, prepare):
    assert stand_ins.result(prepare(stand_ins) + NAMES_AND_HOOKS) == [['zerosnet20'], []]


def test_another_plugin_takes_it_over_by_its_names(stand_ins):
    """A copy of the file works beside this one, and its switch and its messages have the name of its plugin."""
    text = (ROOT / 'timm_zerosnet_autoload.py').read_text(encoding='utf-8').partition('\n\n\ndef command(')[0]
    for name, other in (("PLUGIN = 'timm_zerosnet'", "PLUGIN = 'my_plugin'"), ("= 'zerosnet'", "= 'nets'")):
        assert text.count(name) == 1
        text = text.replace(name, other)
    stand_ins.write('my_plugin_autoload.py', text)
    stand_ins.write('my_plugin/__init__.py', '')
    stand_ins.write('my_plugin/nets.py', 'import timm.models\ntimm.models.register("mine")\n')
    stand_ins.write('my_plugin-1.dist-info/METADATA', 'Metadata-Version: 2.1\nName: my-plugin\nVersion: 1\n')
    points = '[torch.backends]\nmy_plugin = my_plugin_autoload:install\n'
    stand_ins.write('my_plugin-1.dist-info/entry_points.txt', points)
    code = 'import sys, timm; result = [sorted(timm.list_models()), [type(f).__name__ for f in sys.meta_path]]'
    names, finders = stand_ins.result(code, '-W', 'error')
    assert names == ['mine', 'zerosnet20'] and '_Hook' not in finders
    assert stand_ins.result(code, MY_PLUGIN_AUTOLOAD='0')[0] == ['zerosnet20']
    assert stand_ins.result(code, TIMM_ZEROSNET_AUTOLOAD='0')[0] == ['mine']
    stand_ins.write('my_plugin/nets.py', '1 / 0')
    done = stand_ins.execute('-c', 'import timm; print(timm.list_models())')
    assert done.stdout.strip() == "['zerosnet20']"
    assert 'my-plugin: timm does not know its models, because `import my_plugin` failed with ZeroDiv' in done.stderr
    assert 'MY_PLUGIN_AUTOLOAD=0 turns this automatic import off' in done.stderr


def test_timm_models_without_code_is_left_alone(stand_ins):
    (stand_ins.folder / 'timm' / 'models' / '__init__.py').unlink()
    stand_ins.write('timm/__init__.py', 'from . import layers, models\n')
    assert stand_ins.result('import sys, timm\nresult = "timm_zerosnet" in sys.modules', '-W', 'error') is False


@pytest.mark.parametrize('first', ['import timm', 'import timm.models', 'import timm_zerosnet'])
def test_timm_models_that_imports_torch_itself_is_not_met_half_done(first, stand_ins):
    """It is found before the hook is there, as by a thread that waits for torch inside it."""
    stand_ins.write('timm/__init__.py', 'from .models import list_models\n')
    stand_ins.write('timm/models/__init__.py', 'import torch\n' + STAND_INS['timm/models/__init__.py'])
    kind = 'result.append(type(timm).__name__)'
    assert stand_ins.result(first + NAMES_AND_HOOKS + kind, '-W', 'error') == [['zerosnet20'], [], 'module']
    assert stand_ins.execute('-c', first).stderr == ''


def test_module_is_the_same_as_without_the_hook(stand_ins):
    stand_ins.write(
        'timm/models/__init__.py',
        STAND_INS['timm/models/__init__.py']
        + """
import importlib.resources
during = [type(__loader__).__name__, __spec__.loader is __loader__, len(__loader__.get_data(__file__)),
          importlib.resources.files(__name__).joinpath('_registry.py').is_file()]
""",
    )
    code = """
import timm, importlib, inspect, sys
models = timm.models
spec = models.__spec__
result = [models.during, type(models.__loader__).__name__, models.__loader__ is spec.loader, spec.origin, spec.cached,
          inspect.getsource(models), importlib.reload(models) is models, timm.models is models]
"""
    assert stand_ins.result(code) == stand_ins.result(code, TIMM_ZEROSNET_AUTOLOAD='0')
    after_reload = stand_ins.result('import importlib, timm; importlib.reload(timm.models)' + NAMES_AND_HOOKS)
    assert after_reload == [['zerosnet20'], []]


def test_spec_that_is_found_but_not_executed_has_the_loaders_attributes(stand_ins):
    assert stand_ins.result(f"""
import copy, sys, torch
spec = sys.meta_path[0].find_spec('timm.models', [{str(stand_ins.folder / 'timm')!r}])
loader = copy.copy(spec.loader)
result = ['register' in loader.get_source('timm.models'), loader.is_package('timm.models'),
          loader.get_resource_reader('timm.models') is not None, hasattr(loader, 'no_such_attribute'),
          hasattr(type(loader).__new__(type(loader)), 'get_data'), 'timm' in sys.modules]
""") == [True, True, True, False, False, False]


@pytest.mark.parametrize('module, ends_well', [('timm.tool', True), ('timm.models', False)])
def test_run_as_a_module(stand_ins, module, ends_well):
    on, off = (stand_ins.execute('-m', module, **switch) for switch in ({}, {'TIMM_ZEROSNET_AUTOLOAD': '0'}))
    assert (on.returncode == 0) is ends_well
    assert (on.returncode, on.stderr) == (off.returncode, off.stderr)
    assert (on.stdout.strip(), off.stdout.strip()) == (("['zerosnet20']", '[]') if ends_well else ('', ''))


def test_install_again_and_late(stand_ins):
    assert stand_ins.result("""
import os, sys, torch, timm_zerosnet_autoload
timm_zerosnet_autoload.install()
hooks = [finder for finder in sys.meta_path if type(finder).__module__ == 'timm_zerosnet_autoload']
import timm
result = [len(hooks), timm.list_models()]
""") == [1, ['zerosnet20']]
    assert stand_ins.result(
        """
import os, timm, timm_zerosnet_autoload
before = timm.list_models()
del os.environ['TIMM_ZEROSNET_AUTOLOAD']
timm_zerosnet_autoload.install()
"""
        + NAMES_AND_HOOKS
        + 'result.insert(0, before)',
        TIMM_ZEROSNET_AUTOLOAD='0',
    ) == [[], ['zerosnet20'], []]


@pytest.mark.parametrize(
    'at_fault, error',
    [
        ('timm_zerosnet/zoo.py', 'KeyboardInterrupt'),
        ('timm/models/__init__.py', 'KeyboardInterrupt'),
        ('timm/models/__init__.py', 'ImportError'),
    ],
)
def test_interrupt_and_failing_timm_get_through_and_the_next_import_works(stand_ins, at_fault, error):
    raise_once = f'import torch\nif not hasattr(torch, "once"):\n    torch.once = True\n    raise {error}\n'
    stand_ins.write(at_fault, raise_once + STAND_INS[at_fault])
    assert stand_ins.result(
        f"""
import sys
try:
    import timm
except {error}:
    assert not [name for name in sys.modules if name.split('.')[0] == 'timm_zerosnet']
else:
    raise AssertionError('it was swallowed')
"""
        + NAMES_AND_HOOKS,
        '-W',
        'error',
    ) == [['zerosnet20'], []]


@pytest.mark.parametrize(
    'statement, cause',
    [
        ('raise SystemExit(3)', 'SystemExit: 3'),
        ('1 / 0', 'ZeroDivisionError: division by zero'),
        ('x = (', r'SyntaxError: .*zoo\.py'),
        ('import no_such_thing', "ModuleNotFoundError: No module named 'no_such_thing'"),
    ],
)
def test_broken_plugin_is_one_message_on_stderr(stand_ins, statement, cause):
    stand_ins.write('timm_zerosnet/zoo.py', STAND_INS['timm_zerosnet/zoo.py'] + statement)
    code = """
import sys, torch
print('torch')
import timm
print(timm.list_models(), [name for name in sys.modules if name.split('.')[0] == 'timm_zerosnet'])
"""
    for flags in ([], ['-W', 'error']):
        done = stand_ins.execute(*flags, '-c', code)
        assert (done.returncode, done.stdout.split()) == (0, ['torch', '[]', '[]']), done.stderr
        assert re.search(rf'timm-zerosnet: .*`import timm_zerosnet` failed with {cause}.*{OFF}', done.stderr)
        assert done.stderr.count('timm-zerosnet') == 1 and 'Traceback' not in done.stderr
    done = stand_ins.execute('-W', 'error', '-c', f'import sys; sys.stderr.close()\n{code}')
    assert (done.returncode, done.stdout.split()) == (0, ['torch', '[]', '[]'])


@pytest.mark.parametrize(
    'block', ['import sys; sys.modules["timm_zerosnet"] = None', 'import torch, sys; sys.meta_path.pop(0)']
)
def test_plugin_blocked_by_the_program_is_no_news(stand_ins, block):
    done = stand_ins.execute('-c', f'{block}\nimport timm; print(timm.list_models())')
    assert (done.stdout.strip(), done.stderr) == ('[]', '')


IN_THREADS = """
import sys, threading, time
names, found = sys.argv[1:], {}
def work(name):
    try:
        __import__(name)
        found[name] = sys.modules['timm.models'].list_models() if name.startswith('timm') else []
    except BaseException as error:
        found[name] = repr(error)
threads = [threading.Thread(target=work, args=[name]) for name in names]
for thread in threads:
    thread.start()
    time.sleep(.05)
for thread in threads: thread.join()
import timm
result = [found, timm.list_models()]
"""


@pytest.mark.parametrize('slow', ['torch', *map(amounts.slow, ('timm/models', 'timm_zerosnet/zoo'))])
@pytest.mark.parametrize(
    'names',
    [
        ('timm', 'timm_zerosnet'),
        ('timm_zerosnet', 'timm'),
        ('timm', 'timm.models', 'timm_zerosnet'),
        ('timm', 'timm_zerosnet', 'timm.models', 'torchvision'),
        ('torchvision', 'timm', 'timm.models', 'timm_zerosnet'),
        ('timm_zerosnet', 'torchvision', 'timm.models', 'timm'),
    ],
)
def test_first_imports_in_several_threads(slow, names, stand_ins):
    """Each thread knows the models when its own import has returned."""
    stand_ins.write('torchvision.py', 'import torch\n')
    stand_ins.write('timm/models/beit.py', 'import torch\n')
    stand_ins.write('timm/models/__init__.py', 'from . import beit\n' + STAND_INS['timm/models/__init__.py'])
    path = f'{slow}.py' if slow.endswith('zoo') else f'{slow}/__init__.py'
    stand_ins.write(path, 'import time; time.sleep(.4)\n' + (stand_ins.folder / path).read_text(encoding='utf-8'))
    code = f'import sys; sys.argv[1:] = {list(names)}\n{IN_THREADS}'
    expected = {name: ['zerosnet20'] if name.startswith('timm') else [] for name in names}
    assert stand_ins.result(code, '-W', 'error') == [expected, ['zerosnet20']]


def test_thread_that_stands_in_a_module_of_the_plugin_is_reported(stand_ins):
    """Python's import locks allow no more: what that thread holds and timm needs comes when timm has been imported."""
    stand_ins.write('timm/models/__init__.py', 'import time; time.sleep(.4)\n' + STAND_INS['timm/models/__init__.py'])
    code = f'import sys; sys.argv[1:] = ["timm", "timm_zerosnet.zerosnet"]\n{IN_THREADS}print(result)'
    done = stand_ins.execute('-c', code)
    assert done.stdout.strip().endswith("['zerosnet20']]"), done.stderr
    assert 'Another thread is importing it: import timm_zerosnet once before starting threads. ' in done.stderr


def test_warning_is_one_line_with_the_causes_and_the_way_to_the_traceback(stand_ins):
    stand_ins.write(
        'timm_zerosnet/zoo.py',
        """
try:
    try:
        open('no/such/file')
    except OSError:
        1 / 0
except ZeroDivisionError as error:
    raise ImportError('first line\\nsecond line...') from error
""",
    )
    done = stand_ins.execute('-W', 'error', '-c', 'import timm')
    assert done.stderr == (
        'timm-zerosnet: timm does not know its models, because `import timm_zerosnet` failed with ImportError: first '
        'line second line, caused by ZeroDivisionError: division by zero, caused by FileNotFoundError: [Errno 2] No '
        'such file or directory: \'no/such/file\'. `python -c "import timm_zerosnet"` shows the traceback. '
        'TIMM_ZEROSNET_AUTOLOAD=0 turns this automatic import off.\n'
    )
    shown = stand_ins.execute('-c', 'import timm_zerosnet')
    assert shown.returncode == 1 and shown.stderr.count('Traceback') == 3 and 'RuntimeWarning' not in shown.stderr


def test_errors_without_message_and_in_a_circle_are_reported(stand_ins):
    stand_ins.write(
        'timm_zerosnet/zoo.py',
        """
class Mute(Exception):
    def __str__(self): raise TypeError
first, second = Mute(), KeyError('x')
first.__cause__, second.__cause__ = second, first
raise first
""",
    )
    done = stand_ins.execute('-c', 'import timm; print(timm.list_models())')
    assert done.stdout.strip() == '[]' and "failed with Mute, caused by KeyError: 'x'. `python" in done.stderr
