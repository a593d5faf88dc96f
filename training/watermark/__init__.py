"""The inaudible mark: how its graphs were made, and what it survives."""
