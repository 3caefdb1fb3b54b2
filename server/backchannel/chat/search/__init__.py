"""Search: messages, channels, users."""
