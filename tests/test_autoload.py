"""Autoload: a bare ``import timm`` knows our models, and whatever goes wrong breaks neither torch nor timm.

The first part runs the hook of the installed wheel between stand-ins for torch, timm and the plugin, in milliseconds;
the second part runs the real ones.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any, Callable

import pytest
from conftest import Environment, execute

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
    'timm_zerosnet/__init__.py': 'from . import numerics, zoo\nimport timm.models\ntimm.models.register(zoo.name)\n',
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


def test_timm_models_without_code_is_left_alone(stand_ins):
    (stand_ins.folder / 'timm' / 'models' / '__init__.py').unlink()
    stand_ins.write('timm/__init__.py', 'from . import layers, models\n')
    assert stand_ins.result('import sys, timm\nresult = "timm_zerosnet" in sys.modules', '-W', 'error') is False


def test_timm_models_that_imports_torch_itself_is_not_met_half_done(stand_ins):
    stand_ins.write('timm/__init__.py', 'from .models import list_models\n')
    stand_ins.write('timm/models/__init__.py', 'import torch\n' + STAND_INS['timm/models/__init__.py'])
    assert stand_ins.result('import sys, timm\nresult = "timm_zerosnet" in sys.modules', '-W', 'error') is False
    assert stand_ins.execute('-c', 'import timm').stderr == ''


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


def test_imports_in_two_threads(stand_ins):
    stand_ins.write('timm/models/__init__.py', STAND_INS['timm/models/__init__.py'] + 'import time; time.sleep(.2)')
    stand_ins.write('timm_zerosnet/zoo.py', 'import time; time.sleep(.1)\n' + STAND_INS['timm_zerosnet/zoo.py'])
    assert stand_ins.result(
        """
import importlib, threading
errors = []
threading.excepthook = lambda args: errors.append(str(args.exc_value))
threads = [threading.Thread(target=importlib.import_module, args=[name]) for name in ('timm', 'timm_zerosnet')]
for thread in threads: thread.start()
for thread in threads: thread.join()
import timm
result = [errors, timm.list_models()]
""",
        '-W',
        'error',
    ) == [[], ['zerosnet20']]


# The real torch and timm from here on: seconds each, so that one process answers several questions.

RECORD = """
import warnings
caught = warnings.catch_warnings(record=True).__enter__()
warnings.simplefilter('always')
def messages():
    found = [f'{w.category.__name__}: {w.message}' for w in caught if w.category is not ResourceWarning]
    caught.clear()
    return found
"""

REPORT = (
    RECORD
    + """
import importlib, inspect, json, multiprocessing, sys
from importlib.metadata import entry_points
from torch.utils.data import DataLoader, Dataset

class Names(Dataset):
    def __len__(self):
        return 1

    def __getitem__(self, index):
        import timm
        return timm.list_models('zerosnet20')

def main():
    result = dict(by_torch=sorted({'timm', 'timm_zerosnet'} & {name.split('.')[0] for name in sys.modules}))
    import timm
    result.update(warnings=messages(), models=timm.list_models('zerosnet20'))
    result.update(package=sys.modules['timm_zerosnet'].__file__,
                  autoload=sys.modules['timm_zerosnet_autoload'].__file__,
                  points=[p.value for p in entry_points(group='torch.backends') if 'zerosnet' in p.value],
                  hooks=sum('timm_zerosnet' in type(finder).__module__ for finder in sys.meta_path),
                  source='create_model' in inspect.getsource(timm.models))
    importlib.reload(timm.models)
    importlib.reload(importlib.import_module('timm_zerosnet'))
    result.update(after_reload=messages(), models_after_reload=timm.list_models('zerosnet20'))
    with multiprocessing.get_context('spawn').Pool(1) as pool:
        spawned = pool.apply_async(timm.list_models, ('zerosnet20',))
        (result['loader'],) = DataLoader(Names(), num_workers=1, multiprocessing_context='spawn', collate_fn=first)
        result['spawned'] = spawned.get()
    print(json.dumps(result))

def first(batch):
    return batch[0]

if __name__ == '__main__':
    main()
"""
)

OWN_NAMES = """
def own_names():
    import timm_zerosnet.zerosnet
    return set(timm_zerosnet.zerosnet.default_cfgs)
"""


@pytest.fixture(scope='module')
def switched_off(installed: Environment) -> dict[str, Any]:
    """timm without the plugin, then with it imported by name."""
    return installed.result(
        RECORD
        + OWN_NAMES
        + """
import sys, timm
result = dict(warnings=messages(), plugin='timm_zerosnet' in sys.modules)
before = set(timm.list_models())
result.update(models=timm.list_models('zerosnet20'))
import timm_zerosnet
result.update(explicit=messages(), own=sorted(own_names()), new=sorted(set(timm.list_models()) - before),
              overlap=sorted(own_names() & before), created=type(timm.create_model('zerosnet20')).__name__)
""",
        TIMM_ZEROSNET_AUTOLOAD='0',
    )


@pytest.fixture(scope='module')
def report(installed: Environment) -> dict[str, Any]:
    (installed.empty.parent / 'report.py').write_text(REPORT, encoding='utf-8')
    return json.loads(installed.run(installed.empty.parent / 'report.py').stdout.splitlines()[-1])


def test_the_wheel_is_what_is_tested(report, installed):
    assert report['package'] == str(installed.site / 'timm_zerosnet' / '__init__.py')
    assert report['autoload'] == str(installed.site / 'timm_zerosnet_autoload.py')
    assert report['points'] == ['timm_zerosnet_autoload:install']


def test_torch_alone_loads_neither_timm_nor_the_plugin(report):
    assert report['by_torch'] == []


def test_bare_timm_knows_the_models_and_the_hook_is_gone(report):
    assert (report['models'], report['hooks'], report['source']) == (['zerosnet20'], 0, True)


def test_bare_timm_warns_of_nothing_that_it_does_not_warn_of_alone(report, switched_off):
    assert report['warnings'] == switched_off['warnings']


def test_reloads_are_silent(report):
    assert (report['after_reload'], report['models_after_reload']) == ([], ['zerosnet20'])


@pytest.mark.parametrize('where', ['spawned', 'loader'])
def test_worker_processes_know_the_models(report, where):
    assert report[where] == ['zerosnet20']


def test_plugin_first_isolated(installed, switched_off):
    result = installed.result(
        RECORD
        + """
import timm_zerosnet
result = dict(warnings=messages())
import importlib, timm
importlib.reload(timm_zerosnet)
result.update(later=messages(), models=timm.list_models('zerosnet20'))
""",
        '-I',
    )
    assert result == dict(warnings=switched_off['warnings'], later=[], models=['zerosnet20'])


def test_runpy_safe_path_and_pytest(installed, tmp_path):
    (tmp_path / 'test_names.py').write_text(
        """
import runpy
version = runpy.run_module('timm.version', run_name='__main__', alter_sys=True)
def test_names():
    import timm
    assert version['__version__'] == timm.__version__ and timm.list_models('zerosnet20') == ['zerosnet20']
""",
        encoding='utf-8',
    )
    safe_path = ['-P'] if sys.version_info >= (3, 11) else []
    installed.run(*safe_path, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', tmp_path)


def test_script_under_torchrun(installed, tmp_path):
    # what timm's train.py imports, in its order
    (tmp_path / 'train.py').write_text(
        """
import torch
from timm import utils
from timm.data import create_dataset
from timm.models import create_model, safe_model_name
create_model('zerosnet20')
print('created by rank', __import__('os').environ['RANK'])
""",
        encoding='utf-8',
    )
    done = installed.run('-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', '1', tmp_path / 'train.py')
    assert 'created by rank 0' in done.stdout


def test_switched_off_nothing_is_loaded_and_the_explicit_import_works(switched_off):
    assert (switched_off['plugin'], switched_off['models']) == (False, [])
    assert switched_off['explicit'] == []
    assert switched_off['new'] == switched_off['own'] and 'zerosnet20' in switched_off['own']
    assert switched_off['created'] == 'MultistepResNet'


def test_no_name_is_one_of_timms(switched_off):
    assert switched_off['overlap'] == []


def test_name_of_somebody_else_stays_his(installed, tmp_path):
    (tmp_path / 'stranger.py').write_text(
        """
from timm.models import register_model
@register_model
def zerosnet20(pretrained=False, **kwargs):
    return 'a stranger'
""",
        encoding='utf-8',
    )
    result = installed.result(
        RECORD
        + OWN_NAMES
        + """
import sys, timm
result = dict(models=timm.list_models('zerosnet20'))
import stranger
messages()
warnings.simplefilter('error')
import timm_zerosnet_autoload
timm_zerosnet_autoload.install()
result.update(where_warnings_are_errors=timm.list_models('zerosnet*'), left='timm_zerosnet' in sys.modules)
warnings.simplefilter('always')
import timm_zerosnet
own = own_names()
result.update(warnings=messages(), missing=sorted(own - set(timm.list_models())),
              modules={timm.models.model_entrypoint(name).__module__ for name in own - {'zerosnet20'}}.pop(),
              zerosnet20=timm.models.model_entrypoint('zerosnet20').__module__,
              tags=timm.list_models('zerosnet20', include_tags=True))
""",
        path=[tmp_path],
        TORCH_DEVICE_BACKEND_AUTOLOAD='0',
    )
    (warning,) = result.pop('warnings')
    assert 'timm_zerosnet' in warning and 'zerosnet20 (of stranger)' in warning
    assert result == dict(
        models=[],
        where_warnings_are_errors=['zerosnet20'],
        left=False,
        missing=[],
        modules='timm_zerosnet.zerosnet',
        zerosnet20='stranger',
        tags=['zerosnet20'],
    )


def test_without_timm_torch_works_and_without_safetensors_timm_does(installed):
    assert installed.result(
        RECORD
        + """
import sys
sys.modules['timm'] = sys.modules['safetensors'] = None
import torch
try:
    import timm_zerosnet
except ModuleNotFoundError as error:
    result = [error.name.split('.')[0]]
del sys.modules['timm']
messages()
import timm
result += [timm.list_models('zerosnet20'), [text for text in messages() if 'zerosnet' in text]]
"""
    ) == ['timm', ['zerosnet20'], []]


def _edit(name: str, old: str, new: str) -> Callable[[Path], None]:
    def edit(package: Path) -> None:
        text = (package / name).read_text(encoding='utf-8')
        assert old in text
        (package / name).write_text(text.replace(old, new, 1), encoding='utf-8')

    return edit


BREAK: dict[str, tuple[Callable[[Path], None], str]] = {
    'syntax error': (_edit('zerosnet.py', 'DEPTHS:', 'DEPTHS = ('), r'SyntaxError: .*zerosnet\.py'),
    'module missing': (
        lambda package: (package / 'methods.py').unlink(),
        r'ModuleNotFoundError: .*timm_zerosnet\.methods',
    ),
    'dependency missing': (
        _edit('zerosnet.py', 'from timm.models', 'import no_such_thing\nfrom timm.models'),
        'ModuleNotFoundError: .*no_such_thing',
    ),
    'exception': (_edit('__init__.py', 'from', 'raise OSError("cannot read")\nfrom'), 'OSError: cannot read'),
    'SystemExit': (_edit('__init__.py', '__all__', 'raise SystemExit(3)\n__all__'), 'SystemExit: 3'),
    'exception halfway': (
        _edit('zerosnet.py', '@register_model\ndef preresnet20', '1 / 0\ndef preresnet20'),
        'ZeroDivisionError: division by zero',
    ),
}


@pytest.fixture(scope='module')
def broken(installed: Environment, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What ``import timm`` does with each broken copy, and with an intact one after them all."""
    folder = tmp_path_factory.mktemp('broken')
    for case, (break_it, _) in {**BREAK, 'intact': (lambda package: None, '')}.items():
        package = folder / case / 'timm_zerosnet'
        shutil.copytree(
            installed.site / 'timm_zerosnet', package, ignore=shutil.ignore_patterns('_weights', '__pycache__')
        )
        break_it(package)
    return installed.result(
        RECORD
        + f"""
folder, cases = {str(folder)!r}, {[*BREAK, 'intact']}
"""
        + """
import contextlib, io, sys, torch, timm_zerosnet_autoload
sys.path.insert(0, '')

def import_timm():
    if 'timm' in sys.modules:  # timm.models once more; its submodules and their registry stay
        del sys.modules['timm.models'], sys.modules['timm'].models
        timm_zerosnet_autoload.install()
    import timm.models

result = {}
for case in cases:
    sys.path[0] = f'{folder}/{case}'
    messages()
    import_timm()
    result[case] = dict(warnings=[text for text in messages() if 'zerosnet' in text])
    if case != 'intact':
        with contextlib.redirect_stderr(io.StringIO()) as stderr, warnings.catch_warnings():
            warnings.simplefilter('error')
            import_timm()
        result[case].update(stderr=stderr.getvalue())
    result[case].update(names=sys.modules['timm'].list_models(include_tags=True),
                        modules=[name for name in sys.modules if name.split('.')[0] == 'timm_zerosnet'],
                        hooks=sum('timm_zerosnet' in type(finder).__module__ for finder in sys.meta_path))
"""
    )


@pytest.mark.parametrize('case', BREAK)
def test_broken_plugin_is_one_warning_and_registers_nothing(broken, switched_off, case):
    result = broken[case]
    (warning,) = result['warnings']
    message = rf'timm-zerosnet: .*`import timm_zerosnet` failed with {BREAK[case][1]}.*{OFF}'
    assert re.fullmatch(rf'RuntimeWarning: {message} .*', warning)
    assert re.fullmatch(rf'{message} .*\n', result['stderr'])
    assert not {name.split('.')[0] for name in result['names']} & set(switched_off['own'])
    assert (result['modules'], result['hooks']) == ([], 0)


def test_intact_plugin_after_broken_ones(broken, switched_off):
    assert broken['intact']['warnings'] == []
    assert set(switched_off['own']) <= {name.split('.')[0] for name in broken['intact']['names']}
