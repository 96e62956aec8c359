"""Every method at equal memory of its clients."""
