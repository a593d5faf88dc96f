"""What answers a visitor: conversations, functions, and a language model on this machine."""
