"""The rules of a federated round, pure and in numpy alone: fleet, allocation, updates, exact sums."""
