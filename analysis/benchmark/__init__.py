"""Measurements that the README quotes; each is a command, and none is a test."""
