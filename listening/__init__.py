"""The microphone's side of a conversation: sound in, turns and words out."""
