"""The protocol of saliency methods: pieces, interruption, threads, errors."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from twinlens.compute.passes.reading import Reading
from twinlens.compute.saliency import occlusion
from twinlens.compute.saliency.methods import METHODS
from twinlens.compute.saliency.registry import Piece, SaliencyMethod, Wanted
from twinlens.contract.manifest import Method
from twinlens.errors import Interrupted, NotFiniteError

from tests.support import tiny
from tests.support.saliency import ANSWER, IDS, PROMPT, table

TRUTH = np.arange(PROMPT * ANSWER, dtype=float).reshape(PROMPT, ANSWER)


def by_column(_: Reading, wanted: Wanted) -> Iterator[Piece]:
    while (left := np.flatnonzero(wanted().any(axis=0))).size:
        yield slice(None), left[:1].tolist(), TRUTH[:, left[:1]]


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> str:
    method = Method("made_up", "Made up", "Nothing.", "None", False, "None")
    monkeypatch.setitem(METHODS, "made_up", SaliencyMethod(method, by_column))
    return "made_up"


@pytest.fixture
def few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twinlens.compute.saliency.gradients.ROWS_AT_ONCE", 2)
    monkeypatch.setattr("twinlens.compute.saliency.gradients.COLUMNS_AT_ONCE", 1)
    monkeypatch.setattr("twinlens.compute.saliency.estimates._MOST_COLUMNS", 1)
    monkeypatch.setattr(occlusion, "_ON_CPU", (2, 256))


def test_columns_one_at_a_time_equal_the_whole_table() -> None:
    model = tiny.model("llama")
    for name in METHODS:
        whole = table(name, model)
        single = table(name, model, [2])
        scale = np.abs(whole).max()
        np.testing.assert_allclose(single[:, 2], whole[:, 2], rtol=1e-4, atol=1e-5 * scale)
    single = table("gradient_x_input", model, [2])
    assert np.isnan(single[:, [0, 1, 3]]).all(), "only the column that was asked for"


@pytest.mark.parametrize("name", METHODS)
def test_an_answer_of_no_token_has_an_empty_table(name: str) -> None:
    model = tiny.model("llama")
    forwards: list[int] = []
    model.register_forward_pre_hook(lambda *_: forwards.append(1))
    assert table(name, Reading(model, IDS[:3], 3)).shape == (3, 0)
    assert not forwards, "nothing to explain, nothing to compute"


@pytest.mark.parametrize("name", [n for n in METHODS if n != "occlusion_remove"])
def test_one_prompt_token_and_one_answer_token(name: str) -> None:
    read = Reading(tiny.model("llama"), IDS[:2], 1)
    values = table(name, read)
    assert values.shape == (1, 1)
    assert np.isfinite(values).all()


@pytest.mark.usefixtures("few_at_once")
@pytest.mark.parametrize("name", [n for n in METHODS if n != "attention_rollout"])
def test_interruption_keeps_what_is_finished(name: str) -> None:
    model = tiny.model("llama")
    whole = table(name, model)
    values = np.full_like(whole, np.nan)
    seen: list[tuple[int, int]] = []

    def report(done: int, total: int, _what: str) -> None:
        seen.append((done, total))
        raise Interrupted("no longer wanted")

    with pytest.raises(Interrupted):
        table(name, model, values=values, report=report)
    finished = np.isfinite(values)
    if name not in ("integrated_gradients", "attention_knockout"):  # whole columns, at their end
        assert finished.any(), "the first piece"
    assert not finished.all()
    assert seen == [(finished.sum(), values.size)]
    scale = np.abs(whole).max()
    np.testing.assert_allclose(values[finished], whole[finished], rtol=1e-4, atol=1e-5 * scale)
    table(name, model, values=values, report=lambda done, total, _: seen.append((done, total)))
    assert seen[1][1] == values.size - finished.sum()
    assert seen[-1][0] == seen[-1][1]
    np.testing.assert_allclose(values, whole, rtol=1e-4, atol=1e-5 * scale)


def test_two_threads_share_one_table(made_up: str) -> None:
    model = tiny.model("llama")
    values = np.full((PROMPT, ANSWER), np.nan)
    lock, started = threading.RLock(), threading.Event()
    pieces: list[str] = []

    def in_other(_done: int, _total: int, _what: str) -> None:
        pieces.append("other")

    def wait_for_other(_done: int, _total: int, _what: str) -> None:
        pieces.append("first")
        started.set()
        other.join(5)

    other = threading.Thread(
        target=lambda: (
            started.wait(5),
            table(made_up, model, [3], values, guard=lock, report=in_other),
        )
    )
    other.start()
    table(made_up, model, values=values, guard=lock, report=wait_for_other)
    np.testing.assert_array_equal(values, TRUTH)
    assert sorted(pieces) == ["first"] * 3 + ["other"], "column 3 is not computed again"


def test_nothing_is_left_when_another_thread_was_faster(made_up: str) -> None:
    values = np.full((PROMPT, ANSWER), np.nan)

    class Guard:
        """While this thread waits for the lock, the table is filled."""

        def __enter__(self) -> None:
            values[:] = TRUTH

        def __exit__(self, *_: object) -> None: ...

    table(made_up, tiny.model("llama"), values=values, guard=Guard())
    np.testing.assert_array_equal(values, TRUTH)


def test_callers_in_inference_mode_or_without_gradients_get_the_same() -> None:
    model = tiny.model("llama")
    for name in METHODS:
        expected = table(name, model)
        with torch.inference_mode():
            np.testing.assert_array_equal(table(name, model), expected, err_msg=name)
        with torch.no_grad():
            np.testing.assert_array_equal(table(name, model), expected, err_msg=name)
        assert torch.is_grad_enabled()


def test_values_that_are_not_finite_are_an_error(
    made_up: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "TRUTH", np.where(TRUTH == 9, np.inf, TRUTH))
    values = np.full((PROMPT, ANSWER), np.nan)
    with pytest.raises(NotFiniteError, match="Made up of the base model is NaN or infinite"):
        table(made_up, tiny.model("llama"), values=values)
    assert np.isfinite(values).sum() == PROMPT, "the columns before the bad one"


def test_methods_are_offered_exact_ones_first_then_the_papers() -> None:
    offered = [entry.method for entry in METHODS.values()]
    assert offered[0].name == "occlusion"
    exact = [m.exact for m in offered]
    assert offered[sum(exact)].name == "gradient_x_input"
    assert exact == sorted(exact, reverse=True)
    assert {m.unit for m in offered if m.name.startswith("occlusion")} == {
        "token",
        "word",
        "sentence",
        "segment",
    }
    assert len({m.title for m in offered}) == len(offered) == len(METHODS)
