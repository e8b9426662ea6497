"""Tokenizers of others: read from their own files, turned into a ``tokenizer.json`` that gives the same ids."""
