"""Where a voice comes from: services that clone a recording, and what this machine can make of it itself."""
