"""Recipes: YAML files with arguments of timm's train.py, checked before they are used."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

from .._errors import ScriptError, WeightError, nearest
from ..checkpoint import read_yaml
from ..weights import RECIPES
from .scripts import script_version


def find_recipe(recipe: str) -> Path:
    """Path of a recipe: a YAML file, or the name of a packaged one such as ``short``.

    Raises:
        ScriptError: if there is no such recipe; names the packaged ones.
    """
    for path in (Path(recipe), RECIPES / f'{recipe}.yaml'):
        if path.is_file():
            return path
    packaged = ', '.join(sorted(path.stem for path in RECIPES.glob('*.yaml')))
    raise ScriptError(f'there is no recipe {recipe!r}; accepted: a YAML file or one of {packaged}')


def needed_version(recipe: Path) -> str:
    """The oldest train.py that a recipe asks for in a comment ``# needs: train.py >= X``; ``''`` if it is silent."""
    found = re.search(r'^# needs: train\.py >= (\S+)$', recipe.read_text(encoding='utf-8'), re.MULTILINE)
    return found[1] if found else ''


def read_recipe(recipe: Path, script: Path, parser: argparse.ArgumentParser) -> dict[str, Any]:
    """The arguments in a recipe, all of which train.py knows (it takes unknown ones silently).

    Args:
        recipe: A YAML file.
        script: The train.py that is to run.
        parser: Its argument parser.

    Raises:
        ScriptError: for a file that cannot be read, a key that train.py does not know (nearest ones suggested), or a
            train.py older than the recipe needs.
    """
    try:
        values = read_yaml(recipe)
    except WeightError as error:
        raise ScriptError(str(error)) from error
    known = vars(parser.parse_known_args([])[0])
    unknown = [str(key) for key in values if key not in known]
    needs, has = needed_version(recipe), script_version(script)
    if needs and (unknown or (has and _release(has) < _release(needs))):
        reason = f'it does not know {", ".join(unknown)}' if unknown else 'it is older'
        raise ScriptError(
            f'recipe {recipe.name} needs train.py >= {needs}, {script} is of {has or "an unknown version"}: {reason}'
        )
    if unknown:
        near = {key: nearest(key.replace('-', '_'), known, 1) for key in unknown}
        named = ', '.join(f'{key} (did you mean {near[key][0]}?)' if near[key] else key for key in unknown)
        raise ScriptError(f'{recipe} has {named}: accepted are the arguments of {script}, with _ for -')
    for key, value in values.items():
        if accepted := _accepted(known[key], value):
            raise ScriptError(f'{recipe} has {key}: {value!r}; accepted is {accepted}, such as {known[key]!r}')
    return values


def _accepted(default: Any, value: Any) -> str | None:
    """What kind of value an argument takes, by its default; None if this is one, or the default does not say."""
    for kinds, name in ((bool, 'true or false'), ((int, float), 'a number'), (str, 'text')):
        if isinstance(default, kinds):
            return None if isinstance(value, kinds) and isinstance(value, bool) == (kinds is bool) else name
    return None


def _release(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r'\d+', version)[:3]))
