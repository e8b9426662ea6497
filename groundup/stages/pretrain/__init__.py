"""Tokens to a base model, by next-token prediction."""
