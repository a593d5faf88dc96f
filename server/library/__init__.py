"""The voice library over HTTP: files, embeddings, voices, generated speech, in the envelope of its own."""
