"""The models of a run: where they come from, and what makes one the same as another."""

from __future__ import annotations

import collections
import hashlib
import inspect
import itertools
import json
import re
from dataclasses import asdict, dataclass, field
from functools import cached_property
from numbers import Number
from pathlib import Path
from typing import Any, Mapping, Sequence

import numpy as np
import timm
import torch
from timm.data import ImageNetInfo, infer_imagenet_subset
from timm.models import is_model_in_modules, load_checkpoint, load_state_dict
from torch import Tensor, nn

from .._errors import UnknownModelError, WeightError, nearest, one_line, shorten, type_of
from ..checkpoint import check_architecture, check_readable, checkpoint_filter_fn, class_names, sizes, unwrap
from ..class_folders import refuse_ties
from ..memory import check_size
from ..model_names import architecture_name, create, model_config
from ..multistep_resnet import MultistepResNet
from ..recorded import checkpoint_arguments, checkpoint_preprocessing
from ..weights import backbone_weights, own_weights
from .arguments import ArgumentTypeError, integer
from .data import DataError, LabelledImages, map_by_name, order_note
from .preprocessing import data_config

OF_ALL = frozenset(vars(nn.Module()))  # attributes of every module
CONFIGS = ('pretrained_cfg', 'default_cfg')  # they say where weights come from; the preprocessing is known apart


class ModelError(ValueError):
    """A model cannot be had or measured; the message says why."""


@dataclass(frozen=True)
class Source:
    """Where a model comes from.

    Args:
        name: A name for ``timm.create_model``, also ``hf-hub:`` and ``local-dir:``; of a module any name.
        module: A network to measure as it is, instead of a named model.
        checkpoint: A file of weights (its entry ``state_dict``, not their average) in place of the pretrained ones.
        arguments: More arguments for ``timm.create_model``, such as ``in_chans``; see also ``made_with``.
        mean, std: Normalisation in place of the model's own; a module without timm's config needs them.
        preprocessing: ``input_size`` (H, W), ``crop_pct``, ``interpolation``, ``crop_mode`` in place of the model's;
            see also ``trained_on``.
        called: What it is called in the results; by default its name.
    """

    name: str
    module: nn.Module | None = None
    checkpoint: Path | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    called: str = ''

    @property
    def result_name(self) -> str:
        """What it is called in the results."""
        return self.called or self.name

    @cached_property
    def made_with(self) -> dict[str, Any]:
        """The arguments for ``timm.create_model``: those given, and those that the checkpoint was trained with.

        Raises:
            WeightError: for a checkpoint of another network, or of a training with other arguments than those given.
        """
        if self.checkpoint is None:
            return dict(self.arguments)
        check_architecture(self.checkpoint, self.name)
        return checkpoint_arguments(self.checkpoint, self.name, self.arguments)

    @cached_property
    def trained_on(self) -> dict[str, Any]:
        """Preprocessing that the checkpoint was trained with, where it is not the model's and the user says none."""
        if self.checkpoint is None:
            return {}
        given = {**self.preprocessing, 'mean': self.mean, 'std': self.std}
        recorded = checkpoint_preprocessing(self.checkpoint, self.name, self.arguments)
        return {key: value for key, value in recorded.items() if given.get(key) is None}

    def check(self) -> None:
        """Refuse a name that timm does not know, or a checkpoint that cannot be used, before anything is loaded.

        Raises:
            ModelError: for an unknown name (names the nearest), or an argument that leaves no classifier.
            WeightError: saying what is wrong with the file.
        """
        if self.checkpoint is not None:
            check_readable(self.checkpoint)
        if self.module is None:
            try:
                model_config(self.name)
            except UnknownModelError as error:
                raise ModelError(str(error)) from error
        for argument in ('features_only', 'pretrained', 'checkpoint_path'):
            if self.made_with.get(argument) is not None:
                raise ModelError(
                    f'model {self.name}: expected arguments of a network that stays a classifier, such as in_chans=1, '
                    f'got {argument}={self.made_with[argument]}'
                )

    def check_pictures(self) -> None:
        """Refuse a number of channels or a size that cannot be, before the network is made.

        Raises:
            ModelError: for another number of channels than pictures have.
            SizeError: if one image of the size and its largest activation exceed the free memory.
        """
        channels = self.arguments.get('in_chans', 3)
        _check_channels(self.name, channels)
        preprocessing = {**self.trained_on, **self.preprocessing}
        if self.module is None and 'input_size' in preprocessing:

            def made() -> nn.Module:
                with torch.device('meta'):
                    return create(self.name, False, **self.made_with)

            check_size(made, (channels, *preprocessing['input_size'][-2:]), self.name)

    def open(self, pretrained: bool = True) -> nn.Module:
        """The network, on the CPU.

        Args:
            pretrained: With its weights, where ``checkpoint`` names no others; otherwise with initial values.

        Raises:
            ModelError: naming the model and the reason.
            WeightError: for weights that are missing or do not fit.
        """
        if self.module is not None:
            return self.module
        arguments = self.made_with
        try:
            with torch.random.fork_rng(devices=[]):
                if self.checkpoint is not None:
                    return self._with_checkpoint(self.checkpoint, arguments)
                net = create(self.name, pretrained, **arguments)
        except WeightError as error:
            if self.checkpoint is None:
                raise
            raise WeightError(f'{self.checkpoint}: {error}') from error
        except Exception as error:  # timm, huggingface_hub, torch and the model itself each raise their own
            origin = f' with {self.checkpoint}' if self.checkpoint else ''
            weights = [] if self.checkpoint else [*own_weights(), *backbone_weights()]
            packaged = ', '.join(name for name in weights if name.partition('.')[0] == self.name)
            raise ModelError(
                f'model {self.name}{origin} cannot be made: {type(error).__name__}: {one_line(error)}'
                + (f'; packaged: {packaged}' if packaged else '')
            ) from error
        config: Any = net.pretrained_cfg
        wanted, trained = self.arguments.get('num_classes'), config.get('num_classes')
        if pretrained and wanted and trained and wanted != trained:
            raise ModelError(
                f'model {self.name}: expected num_classes={trained}, as its weights have, or a checkpoint of yours, '
                f'got num_classes={wanted}, with which the classifier is random'
            )
        return net

    def _with_checkpoint(self, path: Path, arguments: dict[str, Any]) -> nn.Module:
        model = architecture_name(self.name)
        if timm.is_model(model):
            weights = unwrap(load_state_dict(str(path), use_ema=False))
            if is_model_in_modules(model, ['zerosnet']):
                found = sizes(weights)
            else:
                config = model_config(self.name)
                found = sizes(weights, [config.get('classifier')], [config.get('first_conv')])
            arguments = {**found, **arguments}
        net = create(self.name, False, **arguments)
        ours = isinstance(net, MultistepResNet)
        load_checkpoint(
            net,
            str(path),
            use_ema=False,
            filter_fn=checkpoint_filter_fn if ours else lambda weights, _: unwrap(weights),
        )
        return net


@dataclass(frozen=True)
class ModelInfo:
    """What a run records of a model, which itself need not stay in memory.

    Args:
        name: What the model is called in the results.
        architecture: Its name in timm, or its class.
        arguments: Arguments for ``timm.create_model``.
        function: sha256 of its modules as they print, which tells arguments that a config on the Hub adds; of a module
            also of its code, unsaved buffers and plain attributes, which nothing else tells.
        structure: The same, of a module also with its name.
        weights: sha256 of the state dict, see ``weights_sha256``.
        parameters: Number of parameters.
        preprocessing: Size, crop and normalisation of its input, see ``preprocessing.data_config``.
        classes: Number of outputs; None if the model does not say.
        label_names: What the outputs stand for; None if the model does not say.
        trained: Whether ``label_names`` are the class folders that its checkpoint was trained on.
    """

    name: str
    architecture: str
    arguments: dict[str, Any]
    function: str
    structure: str
    weights: str
    parameters: int
    preprocessing: dict[str, Any]
    classes: int | None
    label_names: tuple[str, ...] | None
    trained: bool = False

    def identity(self) -> dict[str, Any]:
        """What decides the model's answers: all but names and what follows from the rest."""
        kept = ('architecture', 'arguments', 'structure', 'weights', 'preprocessing')
        return {key: value for key, value in asdict(self).items() if key in kept}


def describe_model(source: Source, net: nn.Module) -> ModelInfo:
    """Describe the network that ``source.open()`` gave.

    Raises:
        ModelError: naming the model, if its preprocessing is unknown, it has no classifier, or takes other channels
            than pictures have.
        SizeError: if one image of its size and its largest activation exceed the free memory.
    """
    inner = getattr(net, 'module', net) if isinstance(net, nn.DataParallel) else net
    known = getattr(inner, 'pretrained_cfg', None) or {}
    given = {'mean': source.mean, 'std': source.std, **source.trained_on, **source.preprocessing}
    try:
        config = data_config(net, given.pop('mean'), given.pop('std'))
    except ValueError as error:
        raise ModelError(f'model {source.name}: {error}') from error
    if 'input_size' in given:
        given['input_size'] = (config['input_size'][0], *given['input_size'][-2:])
    preprocessing = {**config, **given}
    _check_channels(source.name, preprocessing['input_size'][0])
    if None not in preprocessing['input_size']:
        check_size(inner, preprocessing['input_size'], source.name)
    classes = getattr(inner, 'num_classes', None)
    trained = None if source.checkpoint is None else class_names(source.checkpoint)
    if trained is not None and len(trained) != classes:
        trained = None
    names = trained or known.get('label_names')
    if names is None and (imagenet := infer_imagenet_subset(inner)):
        names = ImageNetInfo(imagenet).label_names()
    printed = re.sub(r' at 0x[0-9a-f]+', '', repr(inner))
    beside = [] if source.module is None else [_code(inner), *_unsaved(inner)]
    named = [] if source.module is None else ['', source.name]
    return ModelInfo(
        name=source.result_name,
        architecture=known.get('architecture') or type(inner).__qualname__,
        arguments=source.made_with,
        function=hashlib.sha256('\n'.join([printed, *beside]).encode()).hexdigest(),
        structure=hashlib.sha256((printed + '\n'.join([*named, *beside])).encode()).hexdigest(),
        weights=weights_sha256(inner.state_dict()),
        parameters=sum(parameter.numel() for parameter in inner.parameters()),
        preprocessing=preprocessing,
        classes=classes,
        label_names=tuple(names) if names and len(names) == classes else None,
        trained=trained is not None,
    )


def _check_channels(name: str, channels: int) -> None:
    if channels not in (1, 3):
        raise ModelError(
            f'model {name}: expected 1 input channel, for grey pictures, or 3, for colour, got {channels}; pictures '
            'have no others'
        )


def _code(net: nn.Module) -> str:
    """Source of the classes of a network, as far as it can be had; without torch's own."""
    texts = []
    for kind in {type(module) for module in net.modules()}:
        if kind.__module__.partition('.')[0] != 'torch':
            try:
                texts.append(inspect.getsource(kind))
            except (OSError, TypeError):  # made in a console
                texts.append(kind.__qualname__)
    return '\n'.join(sorted(texts))


def _unsaved(net: nn.Module) -> list[str]:
    """What a network holds beside its state dict and what modules of torch print: other tensors and plain attributes.

    Of an attribute that is an object of any other kind, the kind alone is told.
    """
    saved, tensors = net.state_dict().keys(), itertools.chain(net.named_parameters(), net.named_buffers())
    found = [f'{name} {weights_sha256({name: tensor})}' for name, tensor in tensors if name not in saved]
    for name, module in net.named_modules():
        kind = type(module)
        prints_all = kind.__module__.partition('.')[0] == 'torch' and kind.extra_repr is not nn.Module.extra_repr
        own = {} if prints_all else vars(module)
        found += [f'{name}.{key} {_told(value)}' for key, value in own.items() if key not in (*OF_ALL, *CONFIGS)]
    return sorted(found)


def _told(value: Any) -> str:
    try:
        return json.dumps(value, default=_plain, skipkeys=True)
    except (TypeError, ValueError, RecursionError):  # such as a list that holds itself
        return type(value).__qualname__


def _plain(value: Any) -> Any:
    """A value that JSON does not have, as one that it has."""
    if isinstance(value, Tensor) and value.layout is torch.strided and not value.is_meta:
        return weights_sha256({'': value})
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        return [str(value.dtype), value.shape, hashlib.sha256(value.tobytes()).hexdigest()]
    if isinstance(value, (set, frozenset)):
        return sorted(map(_told, value))
    return repr(value) if isinstance(value, (Number, bytes, torch.dtype)) else type(value).__qualname__


def weights_sha256(state_dict: Mapping[str, Tensor]) -> str:
    """Hex digest of names, types, shapes and bytes in the order of the names: whichever file they came from."""
    digest = hashlib.sha256()
    for name, value in sorted(state_dict.items()):
        digest.update(f'{json.dumps(name)} {value.dtype} {tuple(value.shape)}\n'.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def class_indices(model: ModelInfo, data: LabelledImages, given: Mapping[str, int] | None = None) -> dict[str, int]:
    """The output of the model that stands for each class of the data set.

    Names decide where the model has label names, its checkpoint those of the folders it was trained on, or where it is
    one of ImageNet's (WordNet ids), also for a part of its classes; the order decides where both have as many and share
    no name; bare numbers are indices.

    Args:
        model: The model.
        data: The data set.
        given: A class map in place of all that: indices by class names of the data set, bare numbers as text.

    Raises:
        DataError: if a class has no output; with both counts.
    """
    numbers = [str(label) for label in sorted(set(data.labels.tolist()))]
    classes = numbers if data.classes is None else list(data.classes)
    what, advice = f'model {model.name}: the data set', '; --class-map FILE says which output stands for each'
    if given is not None:
        missing = [name for name in classes if name not in given]
        if missing:
            near = nearest(missing[0], given, 1, 0.6)
            hint = f' (did you mean {missing[0]} by {near[0]}?)' if near else ''
            raise DataError(
                f'the class map has {len(given)} classes and lacks {shorten(missing)} of the data set{hint}'
            )
        indices = [given[name] for name in classes]
    elif data.classes is None:
        indices = [int(name) for name in classes]
    elif model.label_names is not None:
        try:
            indices = map_by_name(classes, model.label_names, what)
        except DataError as error:
            raise DataError(f'{error}{advice}') from error
    elif model.classes in (None, len(classes)):
        refuse_ties(classes, what)
        indices = list(range(len(classes)))
    else:
        raise DataError(
            f'{what} has {len(classes)} class folders, the model {model.classes} classes without names{advice}'
        )
    low, high = min(indices), max(indices)
    if given is not None:
        what = f'model {model.name}: the class map'
    if low < 0 or (model.classes is not None and high >= model.classes):
        raise DataError(
            f'{what} has labels from {low} to {high}: expected labels from 0 to {(model.classes or 0) - 1}, as the '
            f'model has {model.classes} classes{"" if given is not None else advice}'
        )
    return dict(zip(classes, indices, strict=True))


def checked_class_map(given: Any) -> dict[str, int]:
    """A class map with plain integers.

    Raises:
        ArgumentTypeError: for what is no mapping, and the first class that is no text or whose index is no integer.
    """
    if not isinstance(given, Mapping):
        raise ArgumentTypeError(f'class_map: expected a mapping from class names to indices, got {type_of(given)}')
    for name in given:
        if not isinstance(name, str):
            raise ArgumentTypeError(f'class_map: expected class names as text, also of numbered classes, got {name!r}')
    return {name: integer(f'class_map of {name!r}', index, least=None) for name, index in given.items()}


def mapped_by(model: ModelInfo, data: LabelledImages, given: Mapping[str, int] | None = None) -> str:
    """What decided in ``class_indices``: ``'class map'``, ``'number'``, ``'name'`` or ``'order'``."""
    if given is not None:
        return 'class map'
    if data.classes is None:
        return 'number'
    return 'name' if set(data.classes) <= set(model.label_names or ()) else 'order'


def mapping_note(model: Mapping[str, Any]) -> str:
    """That the classes map by their order, and how; empty where something else decided.

    Args:
        model: ``name``, ``class_mapping``, ``mapped_by`` and ``label_names`` as a run records them.
    """
    if model.get('mapped_by') != 'order':
        return ''
    names, mapping = model.get('label_names'), model['class_mapping']
    meant = [f'{i} ({names[i]})' if names else i for i in mapping.values()]
    return order_note(list(mapping), meant, model['name'])


def few_labels_note(model: ModelInfo, data: LabelledImages) -> str:
    """That labels without names fill less than half of the outputs, as those of another set do; empty otherwise."""
    most = int(data.labels.max())
    known = data.classes is not None or data.subset or model.classes is None
    if known or 2 * (most + 1) >= (model.classes or 0):
        return ''
    return (
        f'the labels end at {most}, {model.name} has {model.classes} outputs, and the data have no class names to '
        'compare: if they are other classes, --class-map FILE says which output stands for each'
    )


def read_class_map(path: Path) -> dict[str, int]:
    """A class map: JSON ``{"class of the data": index}``, or as timm has it, a text file whose line k names class k.

    Raises:
        DataError: if it is neither, or has a class twice.
    """
    try:
        text = path.read_text(encoding='utf-8-sig')
        named = [(name, i) for i, name in enumerate(text.splitlines()) if name]
        found = json.loads(text, object_pairs_hook=_once) if path.suffix == '.json' else _once(named)
    except (OSError, ValueError) as error:
        raise DataError(f'{path} is not a readable class map: {one_line(error)}') from error
    if not isinstance(found, dict) or not found or not all(type(index) is int for index in found.values()):
        raise DataError(
            f'{path} is no class map: expected JSON (.json) of the form {{"class": index}}, or a text file whose '
            'line k names class k'
        )
    return found


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    twice = [name for name, count in collections.Counter(name for name, _ in pairs).items() if count > 1]
    if twice:
        raise ValueError(f'it has {shorten(twice)} more than once')
    return dict(pairs)
