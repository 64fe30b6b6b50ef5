"""Models as programs that other runtimes run: captured whole, forces included."""
