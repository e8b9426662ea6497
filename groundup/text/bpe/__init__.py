"""Byte-level BPE, compiled: splitting text into pieces, counting them, learning merges, and encoding."""
