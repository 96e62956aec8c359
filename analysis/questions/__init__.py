"""One question per file, answered from run directories by a table and a figure."""
