"""Layer 2, model: the transformer, mathematics only; sizes and counts; exchange with other formats."""
