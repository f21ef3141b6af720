"""Heads that route prompts to experts: the requests that they are trained against, and how they
are trained and calibrated."""
