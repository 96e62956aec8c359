"""Domain data sets and how their images are divided among clients."""
