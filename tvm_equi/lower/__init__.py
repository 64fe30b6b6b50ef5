"""From kernels to TensorIR functions, unscheduled, with the sparsity explicit."""
