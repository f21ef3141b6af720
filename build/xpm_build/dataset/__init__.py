"""Data sets of experts: made, brought in, judged, cleaned and split by what the manifest says, never by a script."""
