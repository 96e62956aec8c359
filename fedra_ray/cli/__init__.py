"""The command line: a verb per task, and how settings are composed."""
