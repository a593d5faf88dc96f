"""What this machine can do, and which command adds what is missing."""
