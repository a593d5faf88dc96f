"""Makes avatars: a clip, a photo or a folder of pictures in, a directory under `data/avatars/` out."""
