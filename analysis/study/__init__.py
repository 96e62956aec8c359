"""Every experiment of the study, and the album of its figures: python -m analysis.study."""
