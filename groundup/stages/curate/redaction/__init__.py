"""Personal data and secrets found by form, check digit and context, and taken out of texts."""
