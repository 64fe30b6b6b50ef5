"""From TensorIR functions and a target to scheduled TensorIR functions."""
