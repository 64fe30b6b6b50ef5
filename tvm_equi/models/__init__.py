"""Whole models: e3nn's modules in them swapped for compiled ones, and adapters of code bases."""
