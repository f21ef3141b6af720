"""The command line: parses arguments, calls one operation, renders what it returns."""
