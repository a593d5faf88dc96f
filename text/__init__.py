"""Text on its way to speech: cut into clauses, and what is written made into what is said."""
