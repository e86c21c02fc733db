"""Tiny random models, made once."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel
from transformers.utils.logging import disable_progress_bar, enable_progress_bar
from twinlens.compute.live.live import LiveTrace, trace_pair
from twinlens.compute.pair import Pair, load_pair

from tests.support import tiny


@pytest.fixture(scope="session", autouse=True)
def quiet_and_single_threaded() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    disable_progress_bar()
    yield
    enable_progress_bar()
    torch.set_num_threads(threads)


class _Refusal(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        assert "deprecated" not in record.getMessage(), record.getMessage()


@pytest.fixture(scope="session", autouse=True)
def what_transformers_logs_as_deprecated_is_an_error() -> Iterator[None]:
    """It warns of some arguments and only logs others."""
    logger, refusal = logging.getLogger("transformers"), _Refusal(logging.WARNING)
    logger.addHandler(refusal)
    yield
    logger.removeHandler(refusal)


@cache
def _model(architecture: str) -> PreTrainedModel:
    return tiny.model(architecture)


@pytest.fixture(params=tiny.ALL)
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    """A tiny model of each architecture; tests leave it as it was."""
    return _model(request.param)


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return tiny.save_pair(tmp_path_factory.mktemp("pair"))


@pytest.fixture(scope="session")
def pair(folders: tuple[Path, Path]) -> Pair:
    return load_pair(*folders)


@pytest.fixture
def trace(pair: Pair) -> LiveTrace:
    """Both models read tuned's answer; nothing is computed yet."""
    return trace_pair(
        pair,
        tiny.PROMPT,
        instruction=tiny.INSTRUCTION,
        context="The committee concurred.",
        response="shared",
        max_new_tokens=6,
    )
