"""MACE: models of mace-torch 0.3.16, accelerated where they are."""

from tvm_equi.models.mace.capture import capture_mace
from tvm_equi.models.mace.reduce import reduce_contractions
from tvm_equi.models.mace.rules import RULES
from tvm_equi.models.mace.walk import accelerate_mace

__all__ = ["RULES", "accelerate_mace", "capture_mace", "reduce_contractions"]
