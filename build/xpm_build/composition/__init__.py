"""Experts that act together: how strongly each of them should, learned from their own rows."""
