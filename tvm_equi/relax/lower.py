"""The pass that lowers this package's operators: a backend for TVM in the literal sense.

    lv = R.tvm_equi.run((x, y, w), R.str("plan"))
    lv1 = lv[0]
becomes, with `kernels="call_tir"` (the scheduled TensorIR is in the module) or `"packed"` (a
function that calls the compiled library by name),
    lv1 = R.call_tir(cls.kernel, (x, y, w), out_ty=R.Tensor((n, 96), "float32"))
and a shared output, which kernels give as partial sums, its sum.

In: a module. Out: the same without operators of this package. Refused: an unknown form or target.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import tvm
from tvm import relax, tirx
from tvm.relax.expr_functor import PyExprMutator, PyExprVisitor, mutator, visitor

from tvm_equi.algebra.kernel import Kernel
from tvm_equi.artifact.parallel import build_all
from tvm_equi.errors import ArgumentError, unknown_choice
from tvm_equi.relax.kernels import FORMS, Form, KernelCall, calls_of, kernel_function
from tvm_equi.relax.operators import CONVOLVE, RUN, SORT_EDGES, counts_of, dtype_of, num_tasks
from tvm_equi.relax.sizes import constant
from tvm_equi.relax.sort import sort_function
from tvm_equi.runtime.convolution import signature as edge_signature
from tvm_equi.runtime.plans import signature
from tvm_equi.runtime.topology import Order
from tvm_equi.runtime.torch_op import MAX_CHUNKS, ROWS_PER_CHUNK
from tvm_equi.schedule.targets import HOST, target_names

Expr = Any


@tvm.transform.module_pass(opt_level=0, name="LowerTensorProducts")
class LowerTensorProducts:
    """Makes functions of `relax.tvm_equi.run`, `convolve` and `sort_edges`.

    Args:
        kernels: "call_tir" or "packed".
        target: "host" or an x86-64 level, for which kernels are scheduled or compiled.

    Raises:
        ArgumentError: an unknown form or target.

    Example:
        >>> LowerTensorProducts(kernels="packed", target="x86-64-v3").info.name
        'LowerTensorProducts'
    """

    def __init__(self, kernels: Form = "call_tir", target: str = HOST) -> None:
        if kernels not in FORMS:
            raise ArgumentError(unknown_choice("LowerTensorProducts", "kernels", FORMS, kernels))
        if target not in target_names():
            known = target_names()
            raise ArgumentError(unknown_choice("LowerTensorProducts", "target", known, target))
        self.kernels, self.target = kernels, target

    def transform_module(self, module: Any, _context: Any) -> Any:
        """The module without operators of this package."""
        if self.kernels == "packed":
            compile_kernels(module, self.target)
        lowering = _Lowering(module, self.kernels, self.target)
        for variable, function in module.functions_items():
            if isinstance(function, relax.Function):
                lowering.builder_.update_func(variable, lowering.visit_expr(function))
        return lowering.builder_.get()


def kernels_in(module: Any) -> list[tuple[Kernel, str]]:
    """The kernels that a module runs, each with its dtype, in order and each once.

    Args:
        module: that has operators of this package.
    """
    collector = _Collector()
    for _, function in module.functions_items():
        if isinstance(function, relax.Function):
            collector.visit_expr(function)
    return list(collector.found.values())


def compile_kernels(module: Any, target: str) -> list[Any]:
    """Cache entries of the kernels that a module runs, compiled in parallel.

    Args:
        module: that has operators of this package.
        target: "host" or an x86-64 level.
    """
    found = kernels_in(module)
    entries = []
    for dtype in sorted({dtype for _, dtype in found}):
        entries += build_all([kernel for kernel, own in found if own == dtype], dtype, target)
    return entries


@visitor
class _Collector(PyExprVisitor):  # type: ignore[misc]
    """Kernels by key and dtype."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[tuple[str, str], tuple[Kernel, str]] = {}

    def visit_call_(self, call: Any) -> None:
        """Notes what a call runs."""
        if call.op in (RUN, CONVOLVE):
            dtype = dtype_of(call.args[0].ty.fields[0])
            is_convolution = call.op == CONVOLVE
            for part in calls_of(str(call.args[-1].value), over_edges=is_convolution):
                self.found[part.kernel.key(), dtype] = (part.kernel, dtype)


@mutator
class _Lowering(PyExprMutator):  # type: ignore[misc]
    """Rewrites calls."""

    def __init__(self, module: Any, form: Form, target: str) -> None:
        super().__init__(module)
        self.form, self.target = form, target
        self.functions: dict[tuple[str, str], Any] = {}

    def visit_call_(self, call: Any) -> Any:
        """What takes the place of a call."""
        call = self.visit_expr_post_order(call)
        if call.op == RUN:
            return self._run(call)
        if call.op == CONVOLVE:
            return self._convolve(call)
        if call.op == SORT_EDGES:
            return self._sort(call)
        return call

    def _function(self, key: str, dtype: str, make: Any) -> Any:
        """The variable of a function, which is added when it is first asked for."""
        if (key, dtype) not in self.functions:
            name = f"tvm_equi_{len(self.functions)}"
            self.functions[key, dtype] = self.builder_.add_func(make(), name)
        return self.functions[key, dtype]

    def _call(
        self, part: KernelCall, dtype: str, inputs: Sequence[Expr], kinds: list[Any]
    ) -> list[Expr]:
        """What a kernel gives."""
        target = self._function(
            part.kernel.key(),
            dtype,
            lambda: kernel_function(part, dtype, self.target, self.form),
        )
        values = self.builder_.emit(relax.call_tir(target, list(inputs), kinds))
        if len(kinds) == 1:
            return [values]
        return [self.builder_.emit(relax.TupleGetItem(values, n)) for n in range(len(kinds))]

    def _run(self, call: Any) -> Any:
        """A kernel on rows."""
        inputs = _fields(call.args[0])
        plan = str(call.args[1].value)
        facts = signature(plan)
        dtype = dtype_of(inputs[0].ty)
        rows = next(
            value.ty.shape.values[0]
            for value, (_, has_rows) in zip(inputs, facts.inputs, strict=True)
            if has_rows
        )
        lead = {True: rows, False: num_chunks(rows)}
        kinds = [
            relax.TensorType([lead[has_rows], constant(columns)], dtype)
            for columns, has_rows in facts.outputs
        ]
        (part,) = calls_of(plan, over_edges=False)
        values = self._call(part, dtype, inputs, kinds)
        shared = [not has_rows for _, has_rows in facts.outputs]
        return relax.Tuple(self._summed(values, shared))

    def _convolve(self, call: Any) -> Any:
        """A kernel over edges, in one pass or two."""
        inputs, topology = _fields(call.args[0]), _fields(call.args[1])
        plan = str(call.args[2].value)
        facts = edge_signature(plan)
        dtype = dtype_of(inputs[0].ty)
        counts = counts_of([value.ty for value in topology])
        parts = num_tasks(counts["row"])
        size = len(Order._fields)
        orders = {"sender": topology[:size], "receiver": topology[size:]}
        outputs: list[Expr] = [inputs[0]] * len(facts.outputs)
        for part in calls_of(plan, over_edges=True):
            values = [facts.outputs[number] for number in part.outputs]
            shapes = [[counts.get(rows, parts), constant(columns)] for columns, rows in values]
            shapes += [list(inputs[number].ty.shape.values) for number in part.copied]
            shapes += [[parts, constant(columns)] for columns in part.summed]
            kinds = [relax.TensorType(shape, dtype) for shape in shapes]
            found = self._call(part, dtype, [*inputs, *orders[part.order]], kinds)
            shared = [rows == "shared" for _, rows in values]
            sums = self._summed(found[: len(values)], shared)
            for number, value in zip(part.outputs, sums, strict=True):
                outputs[number] = value
        return relax.Tuple(outputs)

    def _summed(self, values: Sequence[Expr], shared: Sequence[bool]) -> list[Expr]:
        """Values, those that come as partial sums summed."""
        return [
            self.builder_.emit(relax.op.sum(value, [0])) if is_shared else value
            for value, is_shared in zip(values, shared, strict=True)
        ]

    def _sort(self, call: Any) -> Any:
        """The edges in the order of one side."""
        side = int(call.args[1].value)
        target = self._function(f"sort_edges_{side}", "int64", lambda: sort_function(side))
        given = [call.args[0], *call.args[2].values]
        values = self.builder_.emit(relax.call_tir(target, given, list(call.ty.fields)))
        return relax.Tuple(
            [self.builder_.emit(relax.TupleGetItem(values, n)) for n in range(len(call.ty.fields))]
        )


def _fields(expr: Any) -> list[Expr]:
    """The fields of a tuple."""
    if isinstance(expr, relax.Tuple):
        return list(expr.fields)
    return [relax.TupleGetItem(expr, number) for number in range(len(expr.ty.fields))]


def num_chunks(rows: Expr) -> Expr:
    """Chunks of rows that shared outputs are summed in: see `runtime.torch_op`."""
    groups = tirx.floordiv(rows, ROWS_PER_CHUNK)
    steps = [1 << power for power in range(1, MAX_CHUNKS.bit_length())]
    return reduce(
        lambda found, step: tirx.Select(groups >= step, constant(step), found),
        steps,
        constant(1),
    )
