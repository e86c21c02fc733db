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
        reader, parse = gguf.GGUFReader, reading.load_gguf_checkpoint
        undo.callback(setattr, gguf, "GGUFReader", reader)
        undo.callback(setattr, reading, "load_gguf_checkpoint", parse)
        setattr(gguf, "GGUFReader", _kept(reader))  # noqa: B010 - mypy takes it for a type
        reading.load_gguf_checkpoint = _without_tensors_kept(parse)
        yield


def _kept(reader: Any) -> Any:
    kept = cache(reader)
    return lambda path, *rest: kept(os.fspath(path), *rest)


def _without_tensors_kept(parse: Any) -> Any:
    @cache
    def kept(path: str) -> Any:
        return parse(path, return_tensors=False)

    def parsed(path: Any, return_tensors: bool = False, **others: Any) -> Any:
        if return_tensors:
            return parse(path, return_tensors=True, **others)
        return copy.deepcopy(kept(os.fspath(path)))

    return parsed
