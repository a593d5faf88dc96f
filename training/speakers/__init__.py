"""The speaker models: how their graphs were made, and how well they tell speakers apart."""
