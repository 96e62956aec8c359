"""What a client's round costs in bytes, arithmetic, memory and time, and the plan of an experiment."""
