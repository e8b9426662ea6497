"""The stages that bring material in: pages, conversations and preferences, each with its licence and origin."""
