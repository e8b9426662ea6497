"""How curation runs: operators on record batches, units of work, keyed reduction on disk."""
