"""GGUF files, parsed once for everything that is asked of them."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from threading import RLock
from typing import Any

import transformers.modeling_gguf_pytorch_utils as reading

_lock = RLock()


@contextmanager
def parsed_once() -> Iterator[None]:
    """Let transformers parse each GGUF file once while inside.

    It does so for the configuration, twice for the tokenizer, and again for the weights, and one
    time takes seconds: there is no way to give it what it has parsed already.
    """
    import gguf

    with _lock, ExitStack() as undo:
        for module, name, once in (
            (gguf, "GGUFReader", _kept),
            (gguf, "get_tensor_name_map", cache),  # made anew for every part of the model
            (reading, "load_gguf_checkpoint", _without_tensors_kept),
        ):
            undo.callback(setattr, module, name, getattr(module, name))
            setattr(module, name, once(getattr(module, name)))
        yield


def _kept(reader: Any) -> Any:
    remembered = cache(reader)
    return lambda path, *rest: remembered(os.fspath(path), *rest)


def _without_tensors_kept(parse: Any) -> Any:
    @cache
    def described(path: str) -> Any:
        return parse(path, return_tensors=False)

    def parsed(path: Any, return_tensors: bool = False, **others: Any) -> Any:
        if return_tensors:
            return parse(path, return_tensors=True, **others)
        return copy.deepcopy(described(os.fspath(path)))

    return parsed
