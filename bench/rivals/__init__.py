"""Rivals: other job systems, measured beside Posthorse on the same servers in the same run: `python -m bench.rivals`.

None of their code is here: `environments` installs each into a folder of its own, at the versions that `table` pins.
"""
