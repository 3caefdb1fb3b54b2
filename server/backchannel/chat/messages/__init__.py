"""Messages: send, edit, delete, answer, react, mention, pin, list."""
