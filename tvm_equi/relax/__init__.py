"""Whole programs through TVM's Relax."""
