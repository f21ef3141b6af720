"""A server around one engine: who gets it when, what is kept of accepted jobs, and the protocols that clients speak."""
