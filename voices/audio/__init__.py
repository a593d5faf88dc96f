"""Recordings made ready to become a voice: decoded, judged, trimmed, levelled, in a process of their own."""
