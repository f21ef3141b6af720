"""Federated averaging of an adapter, simulated here: clients that keep their rows, and Flower's server
that sees adapters alone."""
