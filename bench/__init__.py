"""Benchmarks: one question about speed each, run as `python -m bench.<module>`."""
