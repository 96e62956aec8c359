"""Measures, without any federated run, whether a data set and a backbone can tell methods for sub-models apart."""
