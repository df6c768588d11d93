"""Claiming: which lanes a runner looks into, and what it takes from them."""
