"""A model with its papers, in one folder that other tools read."""
