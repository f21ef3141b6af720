"""The marketplace: an index snapshot in, pages out; knows no command line and no engine."""
