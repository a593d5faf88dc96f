"""Lip engines: what one of the pipeline's `*real.py` modules chooses from."""
