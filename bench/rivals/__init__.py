"""Measures other job systems beside Posthorse, on the same servers in the same run: `python -m bench.rivals`.

Nothing of theirs lies here: `environments` installs each into a folder of its own, at the versions that `table` pins.
"""
