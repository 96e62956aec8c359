"""What people look at: the figures of a run and its page, report.html."""
