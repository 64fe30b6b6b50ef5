"""One launch that multiplies rows by a matrix that they share: blocks of the result in registers.

In: a launch and the buffers of its function. Out: TensorIR bound to blocks and threads. All three
directions of z[row,w,k] = sum_u W[u,w] x[row,u,k] are products C[m,n] = sum_d A[m,d] B[d,n]:

    computed    m           n   d           A           B
    z           (row, k)    w   u           x           W
    x           (row, k)    u   w           z           W, transposed
    W           u           w   (row, k)    x           z

For W the rows are split into chunks, each of which has a sum of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from tvm_equi.lower.gpu.launches import Item, Product
from tvm_equi.lower.gpu.scalars import barrier, constant, registers, set_zero, wide_lanes, wide_read
from tvm_equi.lower.gpu.values import At, column, lead, load, save
from tvm_equi.lower.vector import Expr

if TYPE_CHECKING:
    from tvm_equi.lower.gpu.lowering import GpuLowering


@dataclass(frozen=True, slots=True)
class _Sizes:
    """Extents of C[m,n] = sum_d A[m,d] B[d,n]."""

    m: Expr
    n: int
    d: Expr


class ProductEmitter:
    """Emits one launch."""

    def __init__(self, lowering: GpuLowering, launch: Product) -> None:
        """Takes the sizes from the decisions."""
        self.lowering, self.launch = lowering, launch
        self.form = lowering.kernel.contractions[launch.contraction]
        self.memory, self.dtype = lowering.memory, lowering.memory.dtype
        decisions = lowering.decisions
        self.bm, self.bn, self.bd = decisions.matrix_tile
        self.tm, self.tn = decisions.matrix_thread
        self.threads = (self.bm // self.tm) * (self.bn // self.tn)
        self.name = launch.items[0].step.target
        self.add = lowering.is_written((self.name, launch.segment), launch)

    def emit(self) -> None:
        """The launch."""
        path = self.form.paths[self.launch.items[0].path]
        self.dim = self.form.operands[0].segments[path.segments[0]].dim
        is_sum = self.launch.output == 1
        rows = self.lowering.num_rows
        num_n = path.extent("u" if self.launch.output == 0 else "w")
        num_m = path.extent("u") if is_sum else rows * self.dim
        num_chunks = self.lowering.num_chunks if is_sum else 1
        with (
            T.thread_binding(0, T.ceildiv(num_m, self.bm), thread="blockIdx.x") as bx,
            T.thread_binding(0, -(-num_n // self.bn), thread="blockIdx.y") as by,
            T.thread_binding(0, num_chunks, thread="blockIdx.z") as bz,
            T.thread_binding(0, self.threads, thread="threadIdx.x") as thread,
            T.sblock(self.lowering.block_name("product")),
        ):
            T.reads()
            T.writes()
            lanes = wide_lanes(self.dtype)
            self.a = T.alloc_buffer((self.bd * (self.bm + lanes),), self.dtype, scope="shared")
            self.b = T.alloc_buffer((self.bd * (self.bn + lanes),), self.dtype, scope="shared")
            self.c = registers(self.tm * self.tn, self.dtype)
            set_zero(self.c, self.tm * self.tn, self.dtype)
            self.thread, self.chunk = thread, T.bind(T.cast(bz, "int64"))
            self.m0 = T.bind(T.cast(bx, "int64") * self.bm)
            self.n0 = T.bind(by * self.bn)
            self.first_row: Expr = 0
            num_d: Expr = 0
            if is_sum:
                size = T.ceildiv(rows, self.lowering.num_chunks)
                self.first_row = T.bind(T.min(self.chunk * size, rows))
                num_d = (T.min(self.first_row + size, rows) - self.first_row) * self.dim
            for item in self.launch.items:
                inner = self.form.paths[item.path]
                if not is_sum:
                    num_d = inner.extent("u" if self.launch.output == 2 else "w")
                self._accumulate(item, _Sizes(num_m, num_n, num_d))
            self._store(path, num_m, num_n)

    def _accumulate(self, item: Item, sizes: _Sizes) -> None:
        """Adds one product, depth tile by depth tile."""
        with T.serial(0, T.ceildiv(sizes.d, self.bd)) as tile:
            d0 = T.bind(tile * self.bd)
            barrier()
            self._stage(self.a, self.bm, lambda m, d: self._left(item, sizes, self.m0 + m, d0 + d))
            self._stage(self.b, self.bn, lambda n, d: self._right(item, sizes, d0 + d, self.n0 + n))
            barrier()
            with T.serial(0, self.bd) as d:
                lanes = wide_lanes(self.dtype)
                across = self.bn // self.tn
                a = self._thread_values(
                    self.a, d * (self.bm + lanes), self.thread // across, self.tm
                )
                b = self._thread_values(
                    self.b, d * (self.bn + lanes), self.thread % across, self.tn
                )
                for i in range(self.tm):
                    for j in range(self.tn):
                        at = i * self.tn + j
                        T.buffer_store(self.c, self.c[at] + a[i] * b[j], [at])

    def _thread_values(self, buffer: Any, base: Expr, which: Expr, count: int) -> list[Expr]:
        """The values of a thread's rows or columns."""
        found: list[Expr] = []
        for start in range(0, count, wide_lanes(self.dtype)):
            found += wide_read(buffer, base + which * count + start, self.dtype)
        return found

    def _stage(self, buffer: Any, extent: int, value: Any) -> None:
        """Copies a tile to shared memory, depth first: neighbours in depth lie side by side."""
        stride = extent + wide_lanes(self.dtype)
        with T.serial(0, -(-extent * self.bd // self.threads)) as round_:
            number = T.bind(self.thread + round_ * self.threads)
            outer, d = number // self.bd, number % self.bd
            with T.If(number < extent * self.bd), T.Then():
                T.buffer_store(buffer, value(outer, d), [d * stride + outer])

    def _element(self, item: Item, slot: int, row: Expr, channel: Expr, k: Expr) -> Expr:
        """One element of an operand."""
        name = item.step.operands[slot]
        segment = self.form.paths[item.path].segments[slot]
        operand = self.memory.operands[name]
        where = column(operand, segment, channel, k)
        buffer = self.memory.buffers[name]
        return load(buffer, (*lead(self.memory, name, At(row=row)), where), self.dtype)

    def _left(self, item: Item, sizes: _Sizes, m: Expr, d: Expr) -> Expr:
        """A[m, d], zero outside."""
        if self.launch.output == 1:
            value = self._element(item, 0, self.first_row + d // self.dim, m, d % self.dim)
        else:
            slot = 0 if self.launch.output == 2 else 2
            value = self._element(item, slot, m // self.dim, d, m % self.dim)
        return self._guarded(tirx.all(m < sizes.m, d < sizes.d), value)

    def _right(self, item: Item, sizes: _Sizes, d: Expr, n: Expr) -> Expr:
        """B[d, n], zero outside."""
        if self.launch.output == 1:
            value = self._element(item, 2, self.first_row + d // self.dim, n, d % self.dim)
        else:
            path = self.form.paths[item.path]
            u, w = (d, n) if self.launch.output == 2 else (n, d)
            value = self._element(item, 1, 0, u * path.extent("w") + w, 0)
        scale = self.form.paths[item.path].scale
        if scale != 1.0:
            exact = self.lowering.decisions.exact_constants
            value = value * constant(self.dtype, scale, exact=exact)
        return self._guarded(tirx.all(n < sizes.n, d < sizes.d), value)

    def _guarded(self, inside: Expr, value: Expr) -> Expr:
        return T.if_then_else(inside, value, tirx.FloatImm(self.dtype, 0.0))

    def _store(self, path: Any, num_m: Expr, num_n: int) -> None:
        """Stores or adds the thread's part of C."""
        across = self.bn // self.tn
        operand, buffer = self.memory.operands[self.name], self.memory.buffers[self.name]
        for i in range(self.tm):
            m = T.bind(self.m0 + (self.thread // across) * self.tm + i)
            for j in range(self.tn):
                n = T.bind(self.n0 + (self.thread % across) * self.tn + j)
                with T.If(tirx.all(m < num_m, n < num_n)), T.Then():
                    at = At(row=m // self.dim, chunk=self.chunk)
                    where: Expr = column(operand, self.launch.segment, n, m % self.dim)
                    if self.launch.output == 1:
                        channel = m * path.extent("w") + n
                        where = column(operand, self.launch.segment, channel, 0)
                    index = (*lead(self.memory, self.name, at), where)
                    value = self.c[i * self.tn + j]
                    if self.add:
                        value = load(buffer, index, self.dtype) + value
                    save(buffer, index, value, self.dtype)
