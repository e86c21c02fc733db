"""What a notebook has set in torch for other work changes no number, and stays as it is."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import twinlens as tl
from twinlens.compute.live.live import trace_pair
from twinlens.contract.blocks import BLOCKS
from twinlens.contract.lookup import read

from tests.support import tiny

pytestmark = pytest.mark.slow


@contextmanager
def default_type(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def of_the_thread() -> Iterator[None]:
    with (
        torch.autocast("cpu", torch.bfloat16),
        torch.device("meta"),
        torch.inference_mode(),
        torch.autograd.detect_anomaly(check_nan=True),
    ):
        yield


SURROUNDINGS: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "of the thread": of_the_thread,
    "default type": lambda: default_type(torch.bfloat16),
}


def numbers(folders: tuple[Path, Path]) -> dict[str, Any]:
    """One value of every block of a live trace, and what is computed without a prompt."""
    pair = tl.load_pair(*folders)
    trace = trace_pair(
        pair, tiny.PROMPT, instruction=tiny.PROMPT[:9], response="shared", max_new_tokens=3
    )
    first: dict[str, str] = {}
    for key in sorted(trace.keys()):
        first.setdefault(read(key, trace.manifest).block.name, key)
    values: dict[str, Any] = {}
    for name, key in first.items():
        try:
            values[name] = trace.block(key)
        except tl.errors.TwinlensError as error:
            values[name] = str(error)
    assert len(values) > len(BLOCKS) / 2
    update = pair.update()
    values["directions"] = json.loads(update.to_frame().to_json())
    values["minimal"] = repr(update.on(tiny.PROMPT, answer=" cat").minimal())
    values["diff"] = tl.diff(*folders).to_json()
    return values


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return tiny.save_pair(tmp_path_factory.mktemp("pair"))


@pytest.fixture(scope="module")
def plain(folders: tuple[Path, Path]) -> dict[str, Any]:
    return numbers(folders)


@pytest.mark.filterwarnings("ignore:Anomaly Detection")
@pytest.mark.parametrize("name", SURROUNDINGS)
def test_settings_for_other_work_change_no_number(
    name: str, folders: tuple[Path, Path], plain: dict[str, Any]
) -> None:
    with SURROUNDINGS[name]():
        dtype, device = torch.get_default_dtype(), torch.get_default_device()
        changed = numbers(folders)
        assert (torch.get_default_dtype(), torch.get_default_device()) == (dtype, device)
    for block, value in plain.items():
        np.testing.assert_equal(changed[block], value, err_msg=f"{block}, {name}")
