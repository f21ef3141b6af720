"""What one machine decides: resolve, lock, fetch, store, and the operations behind the command line."""

__version__ = "0.1.0"
