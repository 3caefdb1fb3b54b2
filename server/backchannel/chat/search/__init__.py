"""Search in messages, channels and users."""
