"""Layer 3, infer: the one engine from which every sampled token and every score comes."""
