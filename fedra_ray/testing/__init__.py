"""Stand-ins for tests of a user's own method, and of this package. Nothing here needs Ray."""
