"""Corpus to tokenizer, and corpus and tokenizer to tokens."""
