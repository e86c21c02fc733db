"""Every parameter of what works without models, given what it cannot be.

Each call is right but for one value. It may still work; what it raises is an error of twinlens, in
one line of bounded length.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import twinlens as tl
from twinlens.errors import TwinlensError
from twinlens.traces import recording
from twinlens.traces.recording import RecordedTrace
from twinlens.view.explorer import Explorer

from tests.support.made_up import MadeUpTrace

WRONG: dict[str, Any] = {
    "None": None,
    "empty": "",
    "Shared": "Shared",
    "-1": -1,
    "10**9": 10**9,
    "nan": float("nan"),
    "object": object(),
    "flags": np.array([True, False]),
    "texts": np.array(["a", "b"]),
    "nothing": np.array([]),
    "series": pd.Series([1.0, 2.0]),
    "surrogate": "\ud800",
    "zero": "a\0b",
    "bytes": b"\xff",
    "mapping": {"a": object()},
    "mixed": [1, "a", None, {}],
    "tuple": (1, 2, 3),
    "type": float,
    "function": len,
    "long": "a" * 5000,
}
#: What calls need beside the value in question.
NEEDED: dict[str, Any] = {
    "side": "tuned",
    "key": "logprob/tuned",
    "name": "sink",
    "layer": 0,
    "head": 0,
    "position": 1,
    "views": [],
    "architecture": tl.Architecture(),
}
METHODS = tuple(
    name
    for name, value in vars(RecordedTrace.__mro__[1]).items()
    if callable(value) and not name.startswith("_")
)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> RecordedTrace:
    return recording.read(
        recording.write(MadeUpTrace(), tmp_path_factory.mktemp("traces") / "a.twl")
    )


def check(function: Callable[..., Any], **needed: Any) -> None:
    """Give each parameter each wrong value."""
    for parameter in signature(function).parameters.values():
        if parameter.kind in (Parameter.VAR_KEYWORD, Parameter.VAR_POSITIONAL):
            continue
        if parameter.name in ("report", "self"):
            continue
        for what, value in WRONG.items():
            try:
                function(**{**needed, parameter.name: value})
            except TwinlensError as error:
                said = str(error)
                assert said
                assert "\n" not in said, (parameter.name, what)
                assert len(said) < 2000, (parameter.name, what)
            except Exception as error:
                raise AssertionError(
                    f"{function.__qualname__}({parameter.name}=<{what}>) raises "
                    f"{type(error).__name__}: {error}"
                ) from error


@pytest.mark.parametrize("name", METHODS)
def test_of_traces(recorded: RecordedTrace, name: str) -> None:
    function = getattr(recorded, name)
    check(function, **{n: v for n, v in NEEDED.items() if n in signature(function).parameters})


@pytest.mark.parametrize("name", ["select", "story"])
def test_of_explorers(name: str) -> None:
    explorer = Explorer(MadeUpTrace())
    function = getattr(explorer, name)
    check(function, **{n: v for n, v in NEEDED.items() if n in signature(function).parameters})


TRAITS = ("token", "layer", "head", "unit", "method", "theme", "presentation", "marks", "labels")


@pytest.mark.parametrize("name", [*TRAITS, "view", "slides", "state"])
def test_of_traits(name: str) -> None:
    explorer = Explorer(MadeUpTrace())

    def given(value: Any) -> None:
        setattr(explorer, name, value)

    def at_first(value: Any) -> None:
        Explorer(MadeUpTrace(), **{name: value})

    check(given)
    if name != "state":
        check(at_first)


@pytest.mark.slow
def test_of_functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    check(tl.open)
    check(tl.viewer_page)
    check(tl.import_published)
    check(tl.Architecture)
    check(tl.ConceptSettings)
    monkeypatch.setattr("twinlens.compute.models.families.ARCHITECTURES", {})
    check(tl.register_architecture, name="mine", architecture=tl.Architecture())
