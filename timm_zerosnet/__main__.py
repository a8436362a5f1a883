"""``python -m timm_zerosnet``: the ``timm-zerosnet`` command."""

import sys

from .cli import main

if __name__ == '__main__':
    sys.exit(main())
