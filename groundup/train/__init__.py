"""Layer 3, train: the one training loop and what it needs."""
