"""The page of a run, report.html, and its figures."""
