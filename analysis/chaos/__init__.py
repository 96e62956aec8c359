"""Runs that are disturbed in every way that a cluster can be, compared with undisturbed ones."""

from fedra_ray.runtime.environment import declare

declare("local")  # the clusters that are started here keep to the loopback address; Ray reads that at its import
