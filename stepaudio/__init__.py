"""Step-Audio: speech as tokens of a language model and tokens as speech, by its published models, here or served."""
