"""Fleets in which nobody is deep: what a client of three, four or six blocks can do for the whole model, and at what cost."""
