"""Every kind of parallelism, applied to the model from outside."""
