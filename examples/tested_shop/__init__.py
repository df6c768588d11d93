"""A small shop with jobs of every sort, and its 100 tests.

python -m pytest -c examples/tested_shop/pytest.ini examples/tested_shop
"""
