"""The packages and the device that a cell was measured with, and notes where the cells of a run differ in them."""

from __future__ import annotations

import collections
import dataclasses
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Iterable, Sequence

import torch

from .. import __version__
from .._errors import counted, shorten
from .plan import Condition, PlannedCell, RunPlan
from .preprocessing import view

PACKAGES = ('torch', 'torchvision', 'timm', 'numpy', 'pillow')
UNKNOWN = 'unknown'


@dataclass(frozen=True)
class Origin:
    """What a cell was measured with; no part of its key.

    Args:
        versions: Version of each package; empty where the cell was measured before they were recorded.
        device: Name of the processor or GPU.
        pixels: Hex digest of the pixels that the model was shown, in the order of the images; None where the cell
            failed.
    """

    versions: dict[str, str]
    device: str
    pixels: str | None = None

    def version(self, package: str) -> str:
        """The version of a package, ``'unknown'`` where it was not recorded."""
        return self.versions.get(package, UNKNOWN)


NOT_RECORDED = Origin({}, UNKNOWN)


def current_versions() -> dict[str, str]:
    """The version of each package in this process."""
    return {
        'timm-zerosnet': __version__,
        'python': platform.python_version(),
        **{package: version(package) for package in PACKAGES},
    }


def device_name(device: str | torch.device) -> str:
    """The name of a GPU, or of the processor for the CPU."""
    kind = torch.device(device).type
    if kind != 'cpu':
        return torch.cuda.get_device_name(device) if kind == 'cuda' else str(device)
    try:
        lines = Path('/proc/cpuinfo').read_text(encoding='utf-8').splitlines()
    except OSError:
        lines = []
    names = [line.partition(':')[2].strip() for line in lines if line.startswith('model name')]
    return (names or [platform.processor() or platform.machine()])[0]


def versions_of(origins: Sequence[Origin]) -> dict[str, str]:
    """For each package, all versions of it that some of the cells were measured with."""
    packages = dict.fromkeys(package for origin in origins for package in origin.versions) or dict.fromkeys(PACKAGES)
    return {name: ' and '.join(sorted({origin.version(name) for origin in origins})) for name in packages}


def measured_with(origins: Iterable[Origin]) -> list[dict[str, Any]]:
    """Versions and devices, each pair with the number of its cells, the most frequent first."""
    counts: collections.Counter[tuple] = collections.Counter()
    for origin in origins:
        counts[tuple(sorted(origin.versions.items())) or UNKNOWN, origin.device] += 1
    return [
        {'versions': versions if versions == UNKNOWN else dict(versions), 'device': device, 'cells': count}
        for (versions, device), count in sorted(counts.items(), key=lambda item: (-item[1], str(item[0])))
    ]


def mixture(origins: Sequence[Origin]) -> list[str]:
    """A sentence each about packages and devices if the cells were measured with several."""
    notes = []
    packages = [name for name, found in versions_of(origins).items() if ' and ' in found]
    if packages:
        parts = '; '.join(f'{name} {_counts(origin.version(name) for origin in origins)}' for name in packages)
        notes.append(f'the cells were not all measured with the same versions: {parts}')
    if len({origin.device for origin in origins}) > 1:
        parts = _counts(origin.device for origin in origins)
        notes.append(f'the cells were not all measured on the same device: {parts}')
    return notes


def _counts(values: Iterable[str]) -> str:
    counts = sorted(collections.Counter(values).items())
    return ', '.join(f'{value} ({counted(count, "cell")})' for value, count in counts)


def changed_pixels(plan: RunPlan, cells: Iterable[tuple[PlannedCell, Origin]]) -> list[str]:
    """A sentence where models that take the same pixels were not shown the same.

    Args:
        plan: The plan of the run.
        cells: Cells of the plan, each with its origin.
    """
    views = {model['name']: view(model['preprocessing']) for model in plan.models}
    shown: dict[tuple[str, Condition], set[str]] = {}
    for cell, origin in cells:
        if origin.pixels:
            shown.setdefault((views[cell.model], cell.condition), set()).add(origin.pixels)
    other = dict.fromkeys(condition for (_, condition), digests in shown.items() if len(digests) > 1)
    if not other:
        return []
    return [
        f'models that take the same pixels were not shown the same, which other versions may draw: {shorten(other, 8)}'
    ]


def difference(names: Sequence[str], origins: Sequence[dict[Condition, Origin]], same_pixels: bool) -> tuple[str, ...]:
    """Sentences about how the cells of two models differ in what they were measured with.

    Args:
        names: What the sentences call the two.
        origins: The origin of each cell of the two, by its condition.
        same_pixels: Whether both take the same pixels of the same images in the same order.
    """
    notes = []
    versions = [versions_of(list(own.values())) for own in origins]
    other = [
        package
        for package in dict.fromkeys([*versions[0], *versions[1]])
        if versions[0].get(package, UNKNOWN) != versions[1].get(package, UNKNOWN)
    ]
    if other and all(origins):
        sides = (
            f'{name} with {", ".join(f"{package} {own.get(package, UNKNOWN)}" for package in other)}'
            for name, own in zip(names, versions, strict=True)
        )
        notes.append(f'the two were not measured with the same versions: {", ".join(sides)}')
    pixels = [{place: origin.pixels for place, origin in own.items() if origin.pixels} for own in origins]
    places = [place for place in pixels[0] if pixels[1].get(place, pixels[0][place]) != pixels[0][place]]
    if same_pixels and places:
        notes.append(f'the two did not see the same pixels, though they take the same: {shorten(places, 8)}')
    return tuple(notes)


def as_document(origin: Origin) -> dict[str, Any]:
    """Plain values, for JSON."""
    return dataclasses.asdict(origin)
