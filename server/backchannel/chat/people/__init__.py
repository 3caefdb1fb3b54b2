"""People: profiles, presence, status, typing, devices, preferences, blocks."""
