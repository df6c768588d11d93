"""The entry of each process that a worker starts: `python -P entry.py MODULE DESCRIPTOR`.

It is run by its path and with -P, so that no file of the project, such as a queue.py, can replace a module that is
needed to start. What the process must do comes through the descriptor, because every user can read command lines.
"""

from __future__ import annotations

import importlib
import os
import sys

HOME = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
"""The folder that contains the package."""


def main(module: str, descriptor: int) -> None:
    """Import the module of the process and hand over to its `main`."""
    if HOME not in sys.path:  # as for a copy of the package inside the project
        sys.path.append(HOME)
    del sys.argv[1:]
    importlib.import_module(module).main(descriptor)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
