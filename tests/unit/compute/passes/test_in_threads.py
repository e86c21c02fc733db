"""Work of several threads with one model: the same results, in order, and nothing left set."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from twinlens.compute.pair import Pair
from twinlens.compute.passes import in_threads as at_once
from twinlens.compute.passes.in_threads import in_threads
from twinlens.compute.saliency.batch import Attributed, attribute_prompts
from twinlens.compute.text.prompt import read_prompt
from twinlens.contract.words import PUBLISHED, SIDES

from tests.support import tiny


@pytest.fixture
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("three_threads")
def test_each_thread_has_its_share_and_results_come_in_order() -> None:
    meeting = threading.Barrier(2, timeout=30)

    def work(number: int) -> tuple[int, int, int]:
        if number < 2:
            meeting.wait()  # passes only if two are at work at once
        return number, torch.get_num_threads(), threading.get_ident()

    results = [result() for result in in_threads(tiny.model("llama"), work, range(6))]
    assert [number for number, *_ in results] == list(range(6))
    assert {threads for _, threads, _ in results} == {1}
    assert threading.get_ident() not in {thread for *_, thread in results}
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("three_threads")
def test_one_that_fails_says_so_when_it_is_asked_and_the_rest_is_dropped() -> None:
    begun = []

    def work(number: int) -> int:
        begun.append(number)
        time.sleep(0.01)
        if number == 1:
            raise ValueError("one")
        return number

    results = in_threads(tiny.model("llama"), work, range(1000))
    assert next(results)() == 0
    with pytest.raises(ValueError, match="one"):
        next(results)()
    assert next(results)() == 2
    results.close()
    assert len(begun) < 1000
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize("why", ["no model", "wide", "other layers", "a listener", "one thread"])
def test_else_it_is_done_here_when_it_is_asked_for(
    why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny.model("gemma2" if why == "other layers" else "llama")
    if why == "wide":
        monkeypatch.setattr(at_once, "_NARROW", 1)
    if why == "one thread":
        torch.set_num_threads(1)
    begun = []
    listening = None
    if why == "a listener":
        listening = model.model.layers[0].mlp.register_forward_pre_hook(lambda *_: None)
    for number, result in enumerate(
        in_threads(None if why == "no model" else model, begun.append, range(4))
    ):
        assert len(begun) == number
        result()
    assert begun == list(range(4))
    if listening is not None:
        listening.remove()


@pytest.mark.usefixtures("three_threads")
def test_prompts_come_out_as_on_one_thread(pair: Pair) -> None:
    texts = [tiny.PROMPT, "The dog sleeps.", *(f"Write the word {'dog ' * n}" for n in range(12))]
    prompts = [read_prompt(pair, text, instruction=text[:9]) for text in texts]
    together = attribute_prompts(pair, prompts, methods=[PUBLISHED], max_new_tokens=9)
    torch.set_num_threads(1)
    alone = attribute_prompts(pair, prompts, methods=[PUBLISHED], max_new_tokens=9)
    for ours, expected in zip(together, alone, strict=True):
        assert isinstance(ours, Attributed)
        assert isinstance(expected, Attributed)
        assert ours.answers == expected.answers
        for side in SIDES:
            table = expected.values[side][PUBLISHED]
            atol = 1e-5 * np.abs(table).max()
            np.testing.assert_allclose(ours.values[side][PUBLISHED], table, rtol=1e-4, atol=atol)
            assert ours.hidden[side].keys() == expected.hidden[side].keys() != set()
            for key, costs in expected.hidden[side].items():
                np.testing.assert_allclose(ours.hidden[side][key], costs, rtol=1e-4, atol=1e-5)
