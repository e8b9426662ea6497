"""Which language and script a text is in, and how sure one may be."""
