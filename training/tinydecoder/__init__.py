"""A tiny decoder for faces, taught by the VAE that it stands in for."""
