"""What nequip imports where this package is installed, by the entry point `nequip.extension`.

In: nothing. Out: nequip's and allegro's classes have their modifiers.
"""

from tvm_equi.models import allegro, nequip

__all__ = ["allegro", "nequip"]
