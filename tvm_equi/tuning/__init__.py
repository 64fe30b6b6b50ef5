"""Tuning runs: candidates are sampled, built, checked and timed, the best raced with the rule."""
