"""Judging experts: on cases that were held back, beside the base alone, an earlier version,
and other experts at work."""
