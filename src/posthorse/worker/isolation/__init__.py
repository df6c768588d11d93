"""Isolation: jobs in warm, killable processes of their own, of which nothing is left when an attempt ends."""
