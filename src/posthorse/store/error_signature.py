"""Errors of a store name it, because a job may use several stores."""

from __future__ import annotations

from posthorse.errors import StoreError


class ErrorSignature:
    """Adds the store's name to its errors."""

    __slots__ = ("_where",)

    def __init__(self, where: str) -> None:
        self._where = where

    def sign(self, error: StoreError) -> None:
        """Enter the name of the store, unless another store did."""
        if error.where is None:
            error.where = self._where

    def __enter__(self) -> None:
        """Do nothing: one signature serves many calls at once."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, StoreError):
            self.sign(error)
