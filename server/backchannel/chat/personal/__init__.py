"""What a user keeps: drafts, scheduled messages, reminders, saved messages; and polls."""
