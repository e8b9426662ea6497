"""Layer 1: artifacts, their records, the store that keeps them, terms and lineage, and what a stage is."""
