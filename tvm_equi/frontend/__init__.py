"""From e3nn modules and torch models to graphs."""
