"""Kernels -> TensorIR for GPUs: one thread per channel, several rows or nodes per block."""
