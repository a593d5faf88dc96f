"""The engine that runs on any CPU: sound to mouth channels, and mouth channels to a drawn mouth."""
