"""The benches: measure Posthorse beside the bare databases, on both stores, in turns: `python -m bench`, `make bench`.

`raw_limits` is the yardstick, `layouts` the study that led to the schema; each can also be run by itself.
"""
