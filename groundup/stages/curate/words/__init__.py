"""Words, lines and sentences of texts, split once a document by compiled kernels and shared by all rules."""
