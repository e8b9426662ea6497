"""Conversations as text: which characters are people's, how templates are filled in, what is trained on."""
