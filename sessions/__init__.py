"""Who is connected, and whose turn it is."""
