"""Corpora to one corpus: how much of each source, within what there is."""
