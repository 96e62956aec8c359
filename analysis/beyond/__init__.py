"""Fleets in which nobody is deep: what a client of a few blocks can do for the whole model, and at what cost."""
