"""Graphs of tensor products: typed values, operations, and the passes over them."""
