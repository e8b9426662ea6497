"""Hugging Face's model families: how each names and lays out what this transformer computes."""
