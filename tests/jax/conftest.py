"""Float64 for every test; nothing is collected where JAX is missing (`make test-deploy` has it)."""

import importlib.util

if importlib.util.find_spec("jax") is None:
    collect_ignore_glob = ["test_*.py"]
else:
    import jax

    jax.config.update("jax_enable_x64", True)
