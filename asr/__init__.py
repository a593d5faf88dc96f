"""Recognition: an utterance in, its text out; one file for each engine, and a chain over them."""
