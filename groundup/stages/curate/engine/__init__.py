"""How curation runs: operators on record batches, in a pipeline."""
