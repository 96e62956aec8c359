"""Builds the artwork benchmark and its backbone from drawings that vendors published as packages."""
