"""Ablations: which rule or mixture helps, measured on small models with several seeds."""
