"""Trying a transaction again where the database asks for it."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from django.db import IntegrityError, OperationalError, connection

P = ParamSpec("P")
T = TypeVar("T")

TRIES = 3
TRY_AGAIN = {"40001", "40P01", "23505"}  # PostgreSQL: serialisation failure, deadlock, somebody was first


def retried(transaction: Callable[P, T]) -> Callable[P, T]:
    """Run a transaction again, at most three times in all, after a conflict with another one.

    Inside another transaction there is nothing to repeat: the outermost one has to be tried again.
    """

    @wraps(transaction)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        for _ in range(TRIES - 1):
            try:
                return transaction(*args, **kwargs)
            except (OperationalError, IntegrityError) as error:
                if connection.in_atomic_block or getattr(error.__cause__, "sqlstate", None) not in TRY_AGAIN:
                    raise
        return transaction(*args, **kwargs)

    return run
