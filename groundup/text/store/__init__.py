"""The token store: documents as ids on disk, the order in which rows are made of them, and ways in and out."""
