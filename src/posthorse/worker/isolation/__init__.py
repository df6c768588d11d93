"""Isolation: runs jobs in warm, killable processes of their own; nothing of them is left when an attempt ends."""
