"""Judges of content: models of quality and toxicity, word lists, URL lists, signs of spam, rules for source code."""
