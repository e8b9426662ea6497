"""One reader a format: each turns the bytes of a file into pages and counts what it can't use."""
