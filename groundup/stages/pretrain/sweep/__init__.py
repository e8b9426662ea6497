"""A family of small base models, and the law that tells what a larger one would reach."""
