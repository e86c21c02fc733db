"""Exact occlusion finds what the embedded pair's tuned model copies from its prompt."""

from __future__ import annotations

import json
from importlib.resources import files

import numpy as np
import pytest
from twinlens.compute.live.live import trace_pair
from twinlens.compute.pair import Pair, demo_pair
from twinlens.contract.words import EXACT
from twinlens.measures.differences import MATTERS

PROMPTS = {
    row["title"]: row for row in json.loads((files("twinlens") / "demo/prompts.json").read_text())
}
#: Words of the context that the answer repeats, and that nothing but the context gives away.
COPIED = {
    "Capital letters": ("small", "dog", "sleeps"),
    "From present to past": ("old", "teacher", "red", "kite"),
    "Say the opposite": ("lazy", "cat"),
    "Ask it": ("young", "farmer", "heavy", "box", "barn"),
    "Summarize a story": ("Emma", "broken", "bell"),
}


@pytest.fixture(scope="module")
def demo() -> Pair:
    return demo_pair()


@pytest.mark.parametrize("title", COPIED)
def test_a_copied_word_rests_on_the_word(demo: Pair, title: str) -> None:
    row = PROMPTS[title]
    trace = trace_pair(
        demo,
        row["prompt"],
        instruction=row["instruction"],
        context=row["context"],
        response="tuned",
        template=True,
        max_new_tokens=20,
    )
    prompt = [token.text.strip() for token in trace.manifest.prompt_tokens]
    answer = [token.text.strip().lower() for token in trace.manifest.answers["tuned"].tokens]
    content = trace.manifest.segment_positions("instruction", "context", "other")
    effects = trace.saliency("tuned", EXACT).values
    for word in COPIED[title]:
        column = effects[:, answer.index(word.lower())]
        first = content[int(np.argmax(column[content]))]
        assert prompt[first] == word
        assert column[first] >= MATTERS
