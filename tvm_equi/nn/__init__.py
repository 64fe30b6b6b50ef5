"""e3nn's modules, with their arguments, state dicts and weight order, on compiled kernels."""
