"""What a tokenizer does to text, in numbers: compression, fairness to languages, use of the vocabulary, probes."""
