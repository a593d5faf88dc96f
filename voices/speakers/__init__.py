"""Who speaks: a recording in, a vector out that is near for the same person and far for another."""
