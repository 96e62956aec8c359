"""Run directories, read, grouped and replayed."""
