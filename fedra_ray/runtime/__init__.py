"""Experiments on Ray: the only room that knows it. Imports nothing here, so that a command line starts fast."""
