"""A weights folder of one weight, and the output of a training that can be added to it."""

import argparse
import json
import shutil

import pytest
import timm
import torch
import yaml
from places import CIFAR10_SAMPLE
from timm.utils import CheckpointSaver

import timm_zerosnet  # noqa: F401
from timm_zerosnet import weights
from timm_zerosnet.maintain import add_weight
from timm_zerosnet.weights import RECIPES

SAMPLE = CIFAR10_SAMPLE
PACKAGED = weights.WEIGHTS
OLD, NEW = 'zerosnet20.cifar10', 'zerosnet20.cifar10_seed1'
HEADER = 'epoch,train_loss,eval_loss,eval_top1,eval_top5,lr\n'


@pytest.fixture(name='folder')
def weights_folder(tmp_path, monkeypatch):
    """A weights folder with one weight and its log."""
    folder = tmp_path / 'weights'
    (folder / 'logs').mkdir(parents=True)
    shutil.copyfile(PACKAGED / f'{OLD}.safetensors', folder / f'{OLD}.safetensors')
    shutil.copytree(PACKAGED / 'logs' / OLD, folder / 'logs' / OLD)
    rows = json.loads((PACKAGED / 'manifest.json').read_text(encoding='utf-8'))
    (folder / 'manifest.json').write_text(json.dumps({OLD: rows[OLD]}), encoding='utf-8')
    monkeypatch.setattr(weights, 'WEIGHTS', folder)
    monkeypatch.setattr(add_weight, 'TEST_IMAGES', 200)
    weights.manifest.cache_clear()
    yield folder
    monkeypatch.undo()
    weights.manifest.cache_clear()


class Run:
    """The output folder of a run of train.py with recipe ``short``."""

    def __init__(self, folder, top1, model='zerosnet20', **arguments):
        self.folder, self.checkpoint = folder, folder / 'last.pth.tar'
        self.log, self.args = folder / 'summary.csv', folder / 'args.yaml'
        recipe = yaml.safe_load((RECIPES / 'short.yaml').read_text(encoding='utf-8'))
        self.arguments = {**recipe, 'model': model, 'seed': 1, 'data_dir': 'elsewhere', 'model_ema': False, **arguments}
        self.write_args()
        self.write_log(f'38,0.1,0.2,99.9,99.9,0.1\n{HEADER}39,0.1,0.2,{top1},99.9,0.0\n')
        if model == 'zerosnet20':
            self.write_checkpoint(timm.create_model(model, pretrained=True))

    def write_args(self, **changes):
        self.arguments.update(changes)
        self.args.write_text(yaml.safe_dump(self.arguments), encoding='utf-8')

    def write_log(self, rows):
        self.log.write_text(HEADER + rows, encoding='utf-8')

    def write_checkpoint(self, model, epoch=39, model_ema=None):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        args = argparse.Namespace(**self.arguments)
        CheckpointSaver(
            model, optimizer, args, model_ema=model_ema, checkpoint_dir=str(self.folder), max_history=1
        ).save_checkpoint(epoch, 91.0)

    def change(self, **entries):
        """Change entries of the stored state dict."""
        with torch.serialization.safe_globals([argparse.Namespace]):
            checkpoint = torch.load(self.checkpoint, weights_only=True)
        checkpoint['state_dict'].update({key.replace('__', '.'): value for key, value in entries.items()})
        torch.save(checkpoint, self.checkpoint)

    def command(self, *options):
        values = {'--recipe': RECIPES / 'short.yaml', '--log': self.log, '--data': SAMPLE, '--tag': 'cifar10_seed1'}
        values['--wall-time'] = '1 h'
        values.update(zip(options[::2], options[1::2], strict=True))
        words = [str(word) for option in values.items() for word in option]
        return ['weights', 'add', str(self.checkpoint), *words]

    def add(self, **changes):
        given = {'recipe': RECIPES / 'short.yaml', 'log': self.log, 'data': SAMPLE, 'tag': 'cifar10_seed1'}
        return add_weight.add(self.checkpoint, **{**given, 'progress': False, **changes})
