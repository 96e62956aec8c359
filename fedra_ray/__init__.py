"""FedRA and its rivals on Ray: a simulator of federated tuning with heterogeneous clients."""
