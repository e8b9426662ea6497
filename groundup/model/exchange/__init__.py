"""Reading and writing models in other people's formats."""
