"""Keeps what Posthorse logs audible after the application configured logging.

By default, `logging.config.dictConfig` and `fileConfig` disable every logger that exists and that they do not name.
Ours exist before the application is imported. Handlers, levels and formats stay the application's.
"""

from __future__ import annotations

import logging

ROOT = "posthorse"


def keep_loggers() -> None:
    """Enable the loggers of Posthorse again. To silence one, give it a level: a configuration that names it may."""
    for name, logger in list(logging.Logger.manager.loggerDict.items()):
        if isinstance(logger, logging.Logger) and f"{name}.".startswith(f"{ROOT}."):
            logger.disabled = False
