"""The launcher of timm's train.py and validate.py."""
