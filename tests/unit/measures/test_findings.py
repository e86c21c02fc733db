"""What is said of a trace: above its null only, and as plain text."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from twinlens.contract import blocks
from twinlens.contract.wire import Value
from twinlens.errors import MemoryNeededError
from twinlens.measures.findings import Findings, distinguishable, findings
from twinlens.support.progress import Report

from tests.support.made_up import MadeUpTrace, manifest

M = 5


def str_of(found: list[Any]) -> str:
    return str(Findings(found))


def step(kl: float, entropy: float = 0.0) -> dict[str, Any]:
    side = {"logprob": -0.01, "rank": 1, "entropy": entropy, "expects": []}
    return {"base": {**side, "logprob": -kl}, "tuned": side, "kl": kl, "kl_back": kl, "shift": ""}


def draw(kl: float, certain: float | None = None) -> dict[str, Any]:
    return {"kl": [kl] * M, "certain": certain}


def noise(*draws: dict[str, Any]) -> Any:
    return {"noise": list(draws), "rounding": [1e-6] * M}


class Planted(MadeUpTrace):
    """Some blocks as the test says."""

    def __init__(self, planted: dict[str, Any], **options: Any) -> None:
        super().__init__(manifest(**options))
        self.planted = planted

    def block(self, key: str, report: Report | None = None) -> Value:
        value = self.planted.get(key)
        if isinstance(value, Exception):
            raise value
        return super().block(key, report) if value is None else value


@pytest.mark.parametrize(
    ("kl", "entropy", "draws", "expected"),
    [
        (0.0, 0.0, [draw(0.0)], False),
        (1e-4, 0.0, [draw(0.0)], False),
        (1.0, 1.0, [draw(0.1), draw(0.4)], True),
        (1.0, 1.0, [draw(0.1), draw(0.6)], False),
        # Noise that destroys the model leaves it uncertain; tuning does not.
        (3.0, 0.1, [draw(4.5, -0.4), draw(2.0, 0.6)], True),
        (3.0, 2.9, [draw(4.5, -0.4)], False),
        (3.0, 0.1, [draw(4.5, 2.5)], False),
        (3.0, 0.1, [draw(4.5)], False),
    ],
)
def test_a_pair_is_told_from_noise(
    kl: float, entropy: float, draws: list[Any], expected: bool
) -> None:
    assert distinguishable([step(kl, entropy)] * M, noise(*draws)) is expected


def test_what_is_not_told_from_noise_is_one_sentence() -> None:
    planted = {blocks.null(): noise(draw(2.0)), blocks.answer_steps(): [step(1.0, 1.0)] * M}
    (only,) = findings(Planted(planted))
    assert only["kind"] == "nothing"
    assert only["title"] == "Nothing here is distinguishable from no tuning."
    assert "5.0 nats" in only["text"][0][1]
    assert "10.0 nats" in only["text"][0][1]


@pytest.mark.parametrize(
    ("planted", "options", "said"),
    [
        ({}, {"shared": False}, "choose a shared answer"),
        ({blocks.null(): MemoryNeededError("load both")}, {}, "load both"),
    ],
)
def test_without_a_null_nothing_is_stated(
    planted: dict[str, Any], options: dict[str, Any], said: str
) -> None:
    (only,) = findings(Planted(planted, **options))
    assert only["kind"] == "nothing"
    assert said in only["text"][0][1]


def copying(words: int) -> dict[str, Any]:
    """Exact effects of ``THE SMALL DOG SLEEPS`` on ``The small dog sleeps`` at 9 to 12."""
    made = manifest()
    effects = np.full((made.prompt_length, M), 0.5, np.float32)
    effects[4] = 3
    for place in range(words):
        effects[9 + place, place] = 5
    flat = np.full_like(effects, 0.5)
    flat[0] = 2
    return {
        blocks.saliency("tuned", "occlusion"): effects,
        blocks.saliency("base", "occlusion"): flat,
        blocks.null(): noise(draw(0.01)),
        blocks.answer_steps(): [step(0.1), step(2.0), step(3.0), step(0.0), step(0.0)],
    }


def test_copies_are_named_with_the_words_and_the_chance() -> None:
    found = {one["kind"]: one for one in findings(Planted(copying(4)))}
    text = str_of([found["copies"]])
    assert text.startswith(
        "Tuned copies. THE, SMALL, DOG and SLEEPS each rest most on the same word of the prompt "
        "in tuned, none of these four words in base. [measured; by chance p "
    )
    assert found["copies"]["panel"] == "saliency"
    assert found["parts"]["title"] == "The answers part at the second token."
    assert found["parts"]["selection"]["token"] == manifest().prompt_length + 1
    assert f"{100 * math.exp(-2):.0f} %" in str_of([found["parts"]])


def test_one_copied_word_of_four_may_be_chance() -> None:
    assert "copies" not in {one["kind"] for one in findings(Planted(copying(1)))}


def carrying(**changes: Any) -> dict[str, Any]:
    parts = [
        {"kind": "feed_forward", "layer": layer, "head": -1, "nats": 1.0, "share": 0.1}
        for layer in range(4)
    ] + [{"kind": "head", "layer": 3, "head": 6, "nats": 1.0, "share": 0.1}]
    reached = [{**part, "together": 9.0, "together_share": 0.85} for part in parts]
    found = {
        "shift": 10.0,
        "kl": 10.0,
        "goal": 0.8,
        "count": 38,
        "blocks": parts,
        "weights": [],
        "parts": reached,
        "random": [0.1, 0.3],
    }
    return copying(4) | {blocks.carried(None): found | changes}


def test_what_carries_it_is_said_with_random_parts_beside_it() -> None:
    found = {one["kind"]: one for one in findings(Planted(carrying()))}
    assert str_of([found["carries"]]) == (
        "Five parts of 38 carry it. All four feed-forward blocks and head 3.6: 9.0 of 10.0 nats "
        "(85 %); five random parts: 20 %, at most 30 %. [measured as a set]"
    )
    assert (found["carries"]["selection"]["layer"], found["carries"]["selection"]["head"]) == (3, 6)


@pytest.mark.parametrize(
    "changes", [{"random": [0.9]}, {"parts": []}, {"shift": 20.0}, {"count": 8}]
)
def test_a_set_that_passes_no_test_is_not_named(changes: dict[str, Any]) -> None:
    assert "carries" not in {one["kind"] for one in findings(Planted(carrying(**changes)))}


def segments(tuned: tuple[float, float], base: tuple[float, float]) -> dict[str, Any]:
    rows = [
        {"segment": "instruction", "answer": answer, "base": [cost[0]], "tuned": [cost[1]]}
        for answer, cost in (("tuned", tuned), ("base", base))
    ]
    return copying(4) | {blocks.hidden_segments(): rows}


@pytest.mark.parametrize(
    ("tuned", "base", "title"),
    [
        ((7.3, 11.3), (0.5, 2.0), "Tuned needs the instruction more."),
        ((7.3, 11.3), (0.5, -0.6), "What the instruction is worth depends on the answer."),
        ((7.3, 2.0), (5.0, -0.6), "Base needs the instruction more."),
        ((0.3, 0.2), (0.5, -0.6), None),
    ],
)
def test_the_instruction_counts_on_both_answers(
    tuned: tuple[float, float], base: tuple[float, float], title: str | None
) -> None:
    found = {one["kind"]: one for one in findings(Planted(segments(tuned, base)))}
    assert (found["segments"]["title"] if "segments" in found else None) == title


@pytest.mark.parametrize(
    ("weights", "template", "together", "title"),
    [
        (4.0, 0.1, 0.1, "It is in the weights, not in the template."),
        (4.0, 2.0, 1.0, "Tuned needs the template."),
        (4.0, 2.0, -0.1, "The template helps base as much as tuned."),
        (4.0, -2.0, -3.0, "The template makes this answer less likely."),
        (0.1, 0.1, 0.0, None),
    ],
)
def test_weights_are_told_from_the_template(
    weights: float, template: float, together: float, title: str | None
) -> None:
    effects = {"weights": weights, "template": template, "together": together}
    planted = copying(1) | {blocks.template(): {name: [x] * M for name, x in effects.items()}}
    found = {one["kind"]: one for one in findings(Planted(planted))}
    assert (found["template"]["title"] if "template" in found else None) == title
    if title:
        assert f"Weights +{5 * weights:.1f} nats" in str_of([found["template"]])
        assert len(findings(Planted(planted))) <= 5


def test_no_more_than_five_are_said() -> None:
    effects = {"weights": [4.0] * M, "template": [2.0] * M, "together": [1.0] * M}
    planted = {**segments((7.3, 11.3), (0.5, 2.0)), **carrying(), blocks.template(): effects}
    found = [one["kind"] for one in findings(Planted(planted))]
    assert found == ["copies", "parts", "segments", "carries", "kept"]
