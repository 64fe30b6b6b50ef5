"""Whole models of published code bases: as they are, and accelerated."""

import os

# e3nn 0.4.4 loads its constants with pickle, which torch refuses otherwise; mace-torch sets it too.
os.environ.setdefault("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
