"""A stand-in for timm's train.py: the same arguments, checkpoints, log and schedule, on a handful of random images."""

import argparse
import json
import os
import time
from pathlib import Path

import torch
import yaml
from timm import create_model, utils
from timm.optim import create_optimizer_v2, optimizer_kwargs
from timm.scheduler import create_scheduler_v2, scheduler_kwargs
from torch.nn.parallel import DistributedDataParallel

STEPS = 2
IMAGES = 32

FLOATS = (
    'lr min_lr layer_decay decay_epochs mean std crop_pct scale ratio clip_grad drop_path drop_block bn_momentum '
    'bn_eps opt_eps opt_betas grayscale_prob'
).split()

parser = argparse.ArgumentParser()
parser.add_argument('data', nargs='?')
for name, default in json.loads(Path(__file__).with_name('train_arguments.json').read_text()).items():
    option = f'--{name.replace("_", "-")}'
    if isinstance(default, bool):
        parser.add_argument(option, action='store_true', default=default)
    elif isinstance(default, dict):
        parser.add_argument(option, nargs='*', action=utils.ParseKwargs, default=default)
    elif name != 'data':
        kind = int if name in ('num_classes', 'start_epoch', 'in_chans', 'img_size') else type(default)
        kind = float if name in FLOATS else kind
        lists = ('train_img_sizes', 'train_batch_sizes', 'input_size', 'mean', 'std', 'opt_betas')
        many = dict(nargs='+') if isinstance(default, list) or name in lists else {}
        kind = kind if kind is float else int if many else str if default is None and kind is not int else kind
        parser.add_argument(option, type=kind, default=default, **many)


def main():
    config = argparse.ArgumentParser(add_help=False)
    config.add_argument('--config')
    found, rest = config.parse_known_args()
    parser.set_defaults(**yaml.safe_load(Path(found.config).read_text()))
    args = parser.parse_args(rest)
    text = yaml.safe_dump(vars(args))
    device = utils.init_distributed_device(args)
    torch.manual_seed(args.seed)
    classes = args.num_classes or None
    model = create_model(args.model, num_classes=classes, pretrained=args.pretrained, **args.model_kwargs)
    wrapped = DistributedDataParallel(model, device_ids=[device]) if args.distributed else model
    optimizer = create_optimizer_v2(model, **optimizer_kwargs(cfg=args))
    scheduler, epochs = create_scheduler_v2(optimizer, **scheduler_kwargs(args), updates_per_epoch=STEPS)
    start = 0
    if args.resume:
        with torch.serialization.safe_globals([argparse.Namespace]):
            checkpoint = torch.load(args.resume, weights_only=True)
        model.load_state_dict(checkpoint['state_dict'])
        optimizer.load_state_dict(checkpoint['optimizer'])
        start = checkpoint['epoch'] + 1
        scheduler.step_update(start * STEPS)
    saver = None
    if utils.is_primary(args):
        folder = utils.get_outdir(args.output or './output/train', args.experiment or f'now-{args.model}')
        Path(folder, 'args.yaml').write_text(text)
        saver = utils.CheckpointSaver(model, optimizer, args, checkpoint_dir=folder, recovery_dir=folder, max_history=1)
    best = None
    generator = torch.Generator().manual_seed(args.seed + int(os.environ.get('RANK', 0)))
    images = torch.randn(IMAGES, 3, 8, 8, generator=generator)
    try:
        for epoch in range(start, epochs):
            model.train()
            for step in range(STEPS):
                optimizer.zero_grad()
                loss = wrapped(images).logsumexp(1).mean()
                loss.backward()
                optimizer.step()
                scheduler.step_update(epoch * STEPS + step + 1)
                time.sleep(0.1)
            if args.distributed:
                utils.distribute_bn(wrapped, args.world_size, args.dist_bn == 'reduce')
            if saver:
                rate = optimizer.param_groups[0]['lr']
                log = os.path.join(folder, 'summary.csv')
                metrics = {'loss': loss.item(), 'top1': 10.0, 'top5': 50.0}
                utils.update_summary(epoch, {'loss': loss.item()}, metrics, log, lr=rate, write_header=best is None)
                best, _ = saver.save_checkpoint(epoch, metric=10.0)
    except KeyboardInterrupt:
        pass
    if args.distributed:
        torch.distributed.destroy_process_group()


if __name__ == '__main__':
    main()
