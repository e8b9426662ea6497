"""Layer 5, serve: a model behind an OpenAI-shaped HTTP interface and a page."""
