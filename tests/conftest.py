from __future__ import annotations

import gc
import os

# Set before numpy or torch is imported: threads of many libraries fight over few cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Nothing in a test asks the hub for anything.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from collections.abc import Generator, Iterator
from typing import Any, cast

import pytest
from hypothesis import settings
from twinlens.contract import wire
from twinlens.contract.wire import Json
from twinlens.figures.charts import CHARTS, chart_json
from twinlens.support.progress import Report
from twinlens.traces.trace import Trace

from tests.support.made_up import MadeUpTrace

# How long an example takes depends on what else the cores do.
settings.register_profile("twinlens", deadline=None)
settings.load_profile("twinlens")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first, so that of two workers none is left with them at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is imported stays: to look among it for garbage takes a sixth of the time of tests."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        young, middle, _ = gc.get_threshold()
        gc.set_threshold(young, middle, 100)
        gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[
    None, dict[str, Any] | None, dict[str, Any] | None
]:
    """Lone surrogates, which tests are about, would end the run when a report is sent."""
    data = yield
    return cast("dict[str, Any] | None", _sendable(data))


def _sendable(value: object) -> object:
    match value:
        case str():
            return value.encode("utf-8", "backslashreplace").decode("utf-8")
        case dict():
            return {key: _sendable(item) for key, item in value.items()}
        case list() | tuple():
            return type(value)(_sendable(item) for item in value)
        case _:
            return value


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nothing is left in, or found in, the user's own cache; what tests start inherits it."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # all workers have one
    os.environ.setdefault("TWINLENS_CACHE", str(folder / "cache"))


@pytest.fixture(scope="session", autouse=True)
def charts() -> Iterator[None]:
    """A chart of equal blocks is drawn once: charts take most of the time of a page."""
    drawn: dict[tuple[str, ...], Json] = {}

    def drawn_once(trace: Trace, key: str, report: Report | None = None) -> Json:
        made_from = [trace.block(needed) for needed in sorted(CHARTS[key.split("/")[1]])]
        of = key, *map(repr, (trace.manifest, *map(wire.encode, made_from)))
        if of not in drawn:
            drawn[of] = chart_json(trace, key, report)
        return drawn[of]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("twinlens.pages.values.chart_json", drawn_once)
        yield


@pytest.fixture
def trace() -> MadeUpTrace:
    return MadeUpTrace()
