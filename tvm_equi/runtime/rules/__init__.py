"""How operations of a graph run, in any library of arrays: torch (`nn`) or JAX (`jax`)."""
