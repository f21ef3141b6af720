"""What the commands do, without a terminal: each operation takes an environment and returns what it did."""
