"""Experiments on Ray: the only part that knows it. Nothing is imported here, so that a command line starts fast."""
