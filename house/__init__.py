"""What all sessions share, put together from the settings."""
