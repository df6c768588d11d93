"""Processes that a worker starts, and what needs an application in them: supervisor, runner, rescue, child."""
