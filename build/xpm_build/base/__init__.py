"""Bases: from a checkpoint to the graphs that the runtime loads, quantised where that is asked for."""
