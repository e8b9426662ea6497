"""Questions in SQL about an artifact and all it was made from."""
