"""Pictures of figures: SVG made from numbers by pure functions. They know no jobs.

Colours are classes that the page defines.
"""
