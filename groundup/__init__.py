"""groundup: train language models from raw pages to a served, measured model."""

__version__ = "0.1.0"
