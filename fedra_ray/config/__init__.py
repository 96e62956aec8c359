"""What the user sets: every setting with its default and bounds, and the errors that name one."""
