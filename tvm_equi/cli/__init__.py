"""The command line: an app, and a module for each group of commands."""
