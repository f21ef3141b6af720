"""Domains of everyday requests: real words and shapes, wording as people write."""
