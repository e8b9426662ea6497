"""One verb of the command line a file: what a person may say, and what they are told. No logic of any stage."""
