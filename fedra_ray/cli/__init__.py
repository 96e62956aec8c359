"""The command line: one file per verb, and how settings are composed. Hydra is imported in this room alone."""
