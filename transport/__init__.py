"""From `MediaUnit`s to encoded packets: the playout clock, the encoders, the recorder, and aiortc's rough edges."""
