"""Every method against a slow, direct reading of its formula in float64."""
