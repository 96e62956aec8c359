"""How figures and tables are drawn and written."""
