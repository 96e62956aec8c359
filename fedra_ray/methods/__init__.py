"""Federated methods, one a file: allocation, local objective, aggregation and prediction."""
