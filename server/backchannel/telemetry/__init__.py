"""Metrics and logs. Everything may import it, and it imports nothing of Backchannel."""
