"""Contractions over irreps and their derivatives: pure mathematics, numpy only."""
