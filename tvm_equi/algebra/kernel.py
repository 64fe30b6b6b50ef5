"""A kernel: contraction steps that share operands and one loop over rows.

In: contractions and the named values they connect. Out: an immutable program that lowering turns
into one function, and that prints to, and reads from, a self-contained text (the *plan*), so that
another process can rebuild it. Refused: steps that read a value before it is complete, and values
used with two types.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from tvm_equi.algebra.contraction import Contraction, Operand, Path, Segment
from tvm_equi.errors import ArgumentError

PLAN_VERSION = 1


@dataclass(frozen=True, slots=True)
class Step:
    """Adds one contraction to the value in slot `output`.

    Args:
        contraction: index into the kernel's contractions.
        operands: the value in each slot of the contraction.
        output: the slot that is computed from the others.
    """

    contraction: int
    operands: tuple[str, ...]
    output: int

    @property
    def target(self) -> str:
        """The value that the step adds to."""
        return self.operands[self.output]

    @property
    def sources(self) -> tuple[str, ...]:
        """The values that the step reads, in slot order."""
        return self.operands[: self.output] + self.operands[self.output + 1 :]


@dataclass(frozen=True, slots=True)
class Kernel:
    """Steps in execution order; a value is the sum of the steps that target it.

    Args:
        contractions: the forms that steps refer to.
        inputs: names of the arguments, in order.
        outputs: names of the results, in order.
        types: (name, operand) for each input and output.
        steps: the program; a name that is neither input nor output is a temporary.

    Raises:
        ArgumentError: a value is read before its last write, is unknown, or is used with two types.
    """

    contractions: tuple[Contraction, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    types: tuple[tuple[str, Operand], ...]
    steps: tuple[Step, ...]

    def __post_init__(self) -> None:
        """Refuses programs that are not well formed."""
        types = dict(self.types)
        written = set(self.inputs)
        last_write = {step.target: index for index, step in enumerate(self.steps)}
        for index, step in enumerate(self.steps):
            form = self.contractions[step.contraction]
            for name, operand in zip(step.operands, form.operands, strict=True):
                if types.setdefault(name, operand) != operand:
                    raise ArgumentError(
                        f"kernel: steps[{index}]: expected {name!r} of type {types[name]}, "
                        f"got {operand}"
                    )
            for name in step.sources:
                if name not in written or last_write.get(name, -1) >= index:
                    raise ArgumentError(
                        f"kernel: steps[{index}]: expected {name!r} complete before it is read"
                    )
            written.add(step.target)

    def operand(self, name: str) -> Operand:
        """The type of a value."""
        return value_types(self)[name]

    @property
    def temporaries(self) -> tuple[str, ...]:
        """Values that are neither inputs nor outputs, in the order of their first write."""
        outside = {*self.inputs, *self.outputs}
        return tuple(dict.fromkeys(s.target for s in self.steps if s.target not in outside))

    def key(self) -> str:
        """sha256 of the content, hexadecimal."""
        return hashlib.sha256(_dumps(self).encode()).hexdigest()

    def structure(self) -> str:
        """sha256 of the content but for the factors of paths, hexadecimal.

        Kernels of one structure differ in constants alone, such as those of another normalisation:
        what is a good schedule for one is so for the other.
        """
        forms = (
            replace(form, paths=tuple(replace(path, scale=1.0) for path in form.paths))
            for form in self.contractions
        )
        return replace(self, contractions=tuple(forms)).key()

    def plan(self) -> str:
        """A self-contained text from which `Kernel.from_plan` makes an equal kernel."""
        return base64.b85encode(zlib.compress(_dumps(self).encode(), 9)).decode()

    @staticmethod
    def from_plan(plan: str) -> Kernel:
        """The kernel that a plan describes.

        Raises:
            ArgumentError: the text is no plan, or of another version.
        """
        try:
            data = json.loads(zlib.decompress(base64.b85decode(plan)))
        except (ValueError, zlib.error) as error:
            raise ArgumentError(
                f"Kernel.from_plan: plan: expected a plan's text, got {plan[:40]!r}"
            ) from error
        if data.get("version") != PLAN_VERSION:
            raise ArgumentError(
                f"Kernel.from_plan: plan: expected version {PLAN_VERSION}, "
                f"got {data.get('version')!r}"
            )
        return _from_json(data)

    def __repr__(self) -> str:
        """One line per step: target += form(sources)."""
        lines = [f"Kernel({', '.join(self.inputs)}) -> {', '.join(self.outputs)}"]
        for step in self.steps:
            form = self.contractions[step.contraction]
            lines.append(
                f"  {step.target} += {form.family}[{step.contraction}]({', '.join(step.sources)})"
                f"  # {len(form.paths)} paths"
            )
        return "\n".join(lines)


@lru_cache(maxsize=1024)
def value_types(kernel: Kernel) -> dict[str, Operand]:
    """The type of every value of a kernel, temporaries included."""
    types = dict(kernel.types)
    for step in kernel.steps:
        operands = kernel.contractions[step.contraction].operands
        types.update(zip(step.operands, operands, strict=True))
    return types


def _dumps(kernel: Kernel) -> str:
    """Canonical JSON: operands are listed once and referred to by number."""
    operands: dict[Operand, int] = {}

    def number(operand: Operand) -> int:
        return operands.setdefault(operand, len(operands))

    contractions = [
        {
            "family": form.family,
            "operands": [number(operand) for operand in form.operands],
            "coupled": form.coupled,
            "paths": [[p.segments, p.channels, p.extents, p.scale] for p in form.paths],
        }
        for form in kernel.contractions
    ]
    types = [[name, number(operand)] for name, operand in kernel.types]
    data = {
        "version": PLAN_VERSION,
        "contractions": contractions,
        "types": types,
        "operands": [
            [[[s.mul, s.dim] for s in operand.segments], operand.layout, operand.rows]
            for operand in operands
        ],
        "inputs": kernel.inputs,
        "outputs": kernel.outputs,
        "steps": [[s.contraction, s.operands, s.output] for s in kernel.steps],
    }
    return json.dumps(data, separators=(",", ":"))


def _from_json(data: dict[str, Any]) -> Kernel:
    """The kernel that canonical JSON describes."""
    operands = [
        Operand(tuple(Segment(mul, dim) for mul, dim in segments), layout, rows)
        for segments, layout, rows in data["operands"]
    ]
    contractions = tuple(
        Contraction(
            form["family"],
            tuple(operands[number] for number in form["operands"]),
            tuple(form["coupled"]),
            tuple(
                Path(tuple(segments), tuple(channels), tuple((a, b) for a, b in extents), scale)
                for segments, channels, extents, scale in form["paths"]
            ),
        )
        for form in data["contractions"]
    )
    return Kernel(
        contractions,
        tuple(data["inputs"]),
        tuple(data["outputs"]),
        tuple((name, operands[number]) for name, number in data["types"]),
        tuple(Step(form, tuple(names), output) for form, names, output in data["steps"]),
    )
