"""Forked works: reads works from standard input and runs each in a fork of this process, so imports happen only once.

A line is WORK URL NUMBER; the reply is a line with the process id of the fork and its exit code. It knows no work.
"""

from __future__ import annotations

import gc
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import NoReturn


def do_as_told(works: Mapping[str, Callable[[str, int], object]]) -> None:
    """Run works until the input ends."""
    gc.collect()  # else the next one, which walks through all that was imported, falls into one work and not another
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _do(line, works)
        _, status = os.waitpid(child, 0)
        print(child, os.waitstatus_to_exitcode(status), flush=True)


def _do(line: str, works: Mapping[str, Callable[[str, int], object]]) -> NoReturn:
    code = 1
    try:
        work, url, number = line.split()
        works[work](url, int(number))
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)
