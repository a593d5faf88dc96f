"""The voice library: recordings in, voices out; its files, database, embeddings and generated speech."""
