"""The passes of curation over all units: clean each page by itself, compare documents, put the corpus together."""
