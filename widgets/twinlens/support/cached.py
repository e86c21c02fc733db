"""Values of an object that are worked out once."""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, Any, TypeVar

Value = TypeVar("Value")


class cached_property(functools.cached_property[Value]):  # noqa: N801
    """That of Python 3.12, which holds no lock.

    Before, all objects of a class shared one while a value was worked out. Whoever waited for a
    model meanwhile, and whoever held that model and asked for the value, waited for one another.
    """

    if not TYPE_CHECKING and sys.version_info < (3, 12):

        def __get__(self, instance: Any, owner: type[Any] | None = None) -> Any:
            if instance is None:
                return self
            values, name = vars(instance), self.attrname
            return values[name] if name in values else values.setdefault(name, self.func(instance))
