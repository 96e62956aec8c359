"""Labelled images in domains: where they come from, and which of them are whose."""
