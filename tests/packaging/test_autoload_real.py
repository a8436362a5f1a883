"""The autoload hook with the real torch and timm: seconds each, so that one process answers several questions."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any, Callable

import pytest
from conftest import Environment

# test_plugin_recipe.py always runs: there a new interpreter imports timm beside the installed wheel
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # the first one builds the wheel
OFF = 'TIMM_ZEROSNET_AUTOLOAD=0'

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


IN_THREADS = """
import json, random, sys, threading, time
random.seed(int(sys.argv[1]))
names, found = ['timm', 'timm_zerosnet', 'timm.models', 'torchvision'], {}
random.shuffle(names)
def work(name):
    try:
        try:
            __import__(name)
        except RuntimeError as error:
            if 'deadlock detected by _ModuleLock' not in str(error):
                raise
            __import__(name)  # Python's own: two threads that begin with timm and timm.models in the same moment
        models = sys.modules['timm.models'] if name.startswith('timm') else None
        found[name] = models and [models.is_model('zerosnet20'), len(models.list_models(module='zerosnet'))]
    except BaseException as error:
        found[name] = repr(error)
threads = [threading.Thread(target=work, args=[name]) for name in names]
for thread in threads:
    thread.start()
    time.sleep(random.choice([0.002, 0.02, 0.2, 1]))
for thread in threads: thread.join()
print(json.dumps(found))
"""


@pytest.mark.parametrize('seed', range(2))
def test_first_imports_in_four_threads(seed, installed, switched_off, tmp_path):
    """No hang, no thread without the models, no half of them."""
    (tmp_path / 'threads.py').write_text(IN_THREADS, encoding='utf-8')
    found = json.loads(installed.run('-W', 'ignore', tmp_path / 'threads.py', seed).stdout.splitlines()[-1])
    whole = [True, len({name.partition('.')[0] for name in switched_off['own']})]
    assert found == {'torchvision': None, 'timm': whole, 'timm.models': whole, 'timm_zerosnet': whole}


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
        _edit('zerosnet.py', 'register_models(globals()', '1 / 0\nregister_models(globals()'),
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
