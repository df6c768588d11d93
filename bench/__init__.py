"""Measures Posthorse beside the bare databases, on both stores, in turns: `python -m bench`, or `make bench`.

`raw_limits` is the yardstick, `layouts` the study from which the schema came; each runs by itself, too.
"""
