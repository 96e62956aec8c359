"""Real texts and a real language model out of ordinary packages, for federated tuning without a hub."""
