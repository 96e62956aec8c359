"""Runs that are disturbed in every way that a cluster knows, beside ones that are not."""

from fedra_ray.runtime.environment import declare

declare("local")  # its clusters too keep to the loopback address; Ray reads that when it is imported
