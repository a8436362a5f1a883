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
    """The path of a recipe.

    Args:
        recipe: A YAML file, or the name of a packaged recipe such as ``short``.

    Raises:
        ScriptError: if there is no such recipe; with the names of the packaged ones.
    """
    for path in (Path(recipe), RECIPES / f'{recipe}.yaml'):
        if path.is_file():
            return path
    packaged = ', '.join(sorted(path.stem for path in RECIPES.glob('*.yaml')))
    raise ScriptError(f'expected a YAML file or one of the recipes {packaged}, got {recipe!r}')


def needed_version(recipe: Path) -> str:
    """The oldest train.py that a recipe asks for in a comment ``# needs: train.py >= X``; ``''`` if there is none."""
    found = re.search(r'^# needs: train\.py >= (\S+)$', recipe.read_text(encoding='utf-8'), re.MULTILINE)
    return found[1] if found else ''


def read_recipe(recipe: Path, script: Path, parser: argparse.ArgumentParser) -> dict[str, Any]:
    """Read the arguments in a recipe, and refuse those that train.py does not know; it would ignore them silently.

    Args:
        recipe: A YAML file.
        script: The train.py that will run.
        parser: The argument parser of ``script``.

    Raises:
        ScriptError: for a file that cannot be read, an unknown key (suggests the nearest), a value of the wrong kind,
            or a train.py that is older than the recipe needs.
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
            f'recipe {recipe.name} needs train.py >= {needs}, got {script} of {has or "an unknown version"}: {reason}'
        )
    if unknown:
        near = {key: nearest(key.replace('-', '_'), known, 1) for key in unknown}
        named = ', '.join(f'{key} (did you mean {near[key][0]}?)' if near[key] else key for key in unknown)
        raise ScriptError(f'{recipe} has {named}: expected arguments of {script}, with _ for -')
    for key, value in values.items():
        if expected := _expected(known[key], value):
            raise ScriptError(f'{recipe} has {key}: {value!r}; expected {expected}, such as {known[key]!r}')
    return values


def _expected(default: Any, value: Any) -> str | None:
    """The kind of value that an argument needs, by its default; None if ``value`` will do.

    Text is right for a number, too: the parser converts it, or says why not.
    """
    if isinstance(default, bool):
        return None if isinstance(value, bool) else 'true or false'
    if isinstance(default, (int, float, str)) and not isinstance(value, (int, float, str)):
        return 'one value'
    return None


def _release(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r'\d+', version)[:3]))
