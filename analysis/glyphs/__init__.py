"""Builds the embedded benchmark and its pretraining set from fonts."""
