"""Where recordings and generated speech are kept: a folder, or any server that speaks S3."""
