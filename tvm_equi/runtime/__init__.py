"""Loads libraries and calls them, from torch or through DLPack."""
