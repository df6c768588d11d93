"""Processes of a worker: the supervisor, its runners, their control pipes, heartbeats and rescue."""
