"""Moderation: silence, ban, shadow ban, word lists, the hook before a send, reports, the audit log."""
