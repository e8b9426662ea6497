"""Layer 4: one folder a stage family; stages never see each other. ``groundup.recipe`` knows them by name."""
