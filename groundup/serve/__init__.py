"""Layer 5, serve: talking to models, in the terminal, over HTTP and on a page."""
