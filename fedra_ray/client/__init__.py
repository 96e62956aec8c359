"""What happens on a client: local training and evaluation of one sub-model at a time, without Ray."""
