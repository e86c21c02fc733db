"""The hub where it can be reached; elsewhere what was downloaded before, without waiting for it.

Libraries ask for each file of a model, and for half a minute before they look into the cache: a
pair that lies there would take minutes to load. What they raise where a model cannot be loaded
becomes one sentence.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from huggingface_hub import (
    constants,
    get_hf_file_metadata,
    hf_hub_url,
    is_offline_mode,
    try_to_load_from_cache,
)
from huggingface_hub.errors import HfHubHTTPError

from twinlens.errors import ModelLoadError

#: What is not there is no error here.
NO_ERRORS: Any = {
    "_raise_exceptions_for_gated_repo": False,
    "_raise_exceptions_for_missing_entries": False,
    "_raise_exceptions_for_connection_errors": False,
}
_CONFIGS = ("config.json", "adapter_config.json")
#: Why the hub could not be reached, once it was tried.
_reasons: ContextVar[list[str] | None] = ContextVar("reasons", default=None)


@contextmanager
def looked_up() -> Iterator[None]:
    """While inside, `check_hub` may have libraries look for models in the cache alone."""
    if _reasons.get() is not None:
        yield
        return
    offline, token = constants.HF_HUB_OFFLINE, _reasons.set([])
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = offline
        _reasons.reset(token)


def check_hub(place: str, file: str | None, revision: str | None) -> None:
    """Ask the hub once for a file of a model, and leave it alone if it cannot be reached.

    Parameters
    ----------
    file : str, optional
        By default the configuration of a model or of an adapter.

    Raises
    ------
    ModelLoadError
        If it cannot be reached, and the model is not in the cache.
    """
    reasons = _reasons.get()
    if reasons is None or (is_offline_mode() and not reasons):
        return  # so it is for the caller
    files = (file,) if file else _CONFIGS
    if not reasons:
        try:
            get_hf_file_metadata(hf_hub_url(place, files[0], revision=revision))
        except (HfHubHTTPError, ValueError):
            pass  # it answers; what is wrong is said where the file is read
        except Exception as error:  # of whatever library it asks with
            reasons.append(" ".join(str(error).split())[:200] or type(error).__name__)
            constants.HF_HUB_OFFLINE = True
    if reasons and not any(_is_cached(place, name, revision) for name in files):
        raise ModelLoadError(
            f"there is no folder {place!r}, and no model of that name was downloaded before: the "
            f"hub cannot be reached ({reasons[0]})"
        )


def _is_cached(place: str, file: str, revision: str | None) -> bool:
    try:
        return isinstance(try_to_load_from_cache(place, file, revision=revision), str)
    except ValueError:  # no name that a model can have
        return False


@contextmanager
def load_errors(name: str, what: str) -> Iterator[None]:
    """Turn whatever the libraries raise for a bad file or a missing network into one sentence."""
    try:
        yield
    except (MemoryError, KeyboardInterrupt, ModelLoadError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ModelLoadError(
            f"the {what} of {name!r} cannot be loaded: check the name, the files and, for a "
            f"model from the hub, the network ({reason})"
        ) from error
