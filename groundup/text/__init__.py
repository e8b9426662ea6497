"""Layer 2, text: documents, conversations, benchmarks' items, tokenizers, chat templates, token shards."""
