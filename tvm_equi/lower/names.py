"""Names that lowering gives and schedules look up."""

FUNCTION = "tvm_equi_kernel"
"""Symbol of the compiled function."""

ROWS_BLOCK = "rows"
"""The outer block: one chunk of rows, whose loop may run in parallel."""

COPY_BLOCK = "copy"
"""Start of the names of blocks that transpose an input on nodes; their loops may be parallel."""
