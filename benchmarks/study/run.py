"""Train what is missing of the study and write it to ``benchmarks/results/stability_study.csv``.

python benchmarks/study/run.py --npz DIR/cifar10.npz                              all sets, depth 20
python benchmarks/study/run.py --npz DIR/cifar10.npz --sets euler --seeds 0       one run
python benchmarks/study/run.py --npz DIR/cifar10.npz --pilot                      lengths, on held-out training images
python benchmarks/study/run.py --npz DIR/cifar100.npz --sets deep --depth 56      deeper networks
"""

import sys
from pathlib import Path

if __name__ == '__main__':
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from study.commands import main

    sys.exit(main(__doc__))
