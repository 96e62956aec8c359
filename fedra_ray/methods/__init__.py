"""Federated methods, one per file: allocation, local objective, aggregation and prediction."""
