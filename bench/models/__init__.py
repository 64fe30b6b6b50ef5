"""Whole models of published code bases: as they are, and accelerated."""
