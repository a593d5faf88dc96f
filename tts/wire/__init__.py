"""What the engines that speak to servers share: connections, errors, and the sound out of what a server sends."""
