"""The papers of an artifact, written from records, ledger tables and lineage: cards, forms, and what programs read.

Every number in them is a :class:`~groundup.artifact.papers.facts.Fact`, which knows where it stands. What no record
holds is visibly blank; a person can state it in a file, and then the papers say that it was stated.
"""
