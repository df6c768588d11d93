"""The entry of each process that a worker starts: `python -P entry.py MODULE DESCRIPTOR`.

Run by its path and with -P, so that no file of the project, such as a queue.py, takes the place of a module that is
needed to start. What the process must do comes through the descriptor, because everybody can read a command line.
"""

from __future__ import annotations

import importlib
import os
import sys

HOME = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
"""The folder in which the package lies."""


def main(module: str, descriptor: int) -> None:
    """Import the module of the process and hand over to its `main`."""
    if HOME not in sys.path:  # as for a copy of the package that lies inside the project
        sys.path.append(HOME)
    del sys.argv[1:]
    importlib.import_module(module).main(descriptor)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
