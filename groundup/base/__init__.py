"""Layer 0: configuration, errors, units, seeds, files and progress. Imports nothing of groundup above it."""
