"""Eleven questions of readers about the embedded pair, answered by the text of its findings."""

from __future__ import annotations

import re

import pytest
import twinlens as tl

pytestmark = pytest.mark.slow

QUESTIONS = {
    "which words does tuned copy?": r"SMALL, DOG, SLEEPS, IN and GARDEN .* same word of the prompt",
    "does base copy them, too?": r"five of six in tuned, two in base",
    "could that be chance?": r"by chance p below 0\.0001",
    "where do the answers part?": r"part at the first token\. T: base 0\.05 %, tuned 100 %",
    "how far are they apart in all?": r"In all 32\.\d nats, most at T, H, E and SLEEPS",
    "what does hiding the instruction cost?": r"costs tuned’s answer 7\.[34] in base "
    r"and 11\.3 nats in tuned",
    "is that more than other text is worth?": r"The instruction is not shown to stand out\. .*"
    r"eight spans as long elsewhere: 6\.9 and 16\.9, p 0\.\d",
    "and base's own answer?": r"base’s own answer 0\.5 and −0\.6",
    "what carries the difference, which heads?": r"All four feed-forward blocks and heads 3\.6",
    "would any other parts do?": r"seven random parts: \d+ %, at most \d+ %",
    "what did not change?": r"Concepts were kept\. .* turned 21 to 24°; random would be 67°",
}


@pytest.fixture(scope="module")
def text() -> str:
    explorer = tl.explore(
        tl.demo_pair(),
        "Rewrite this sentence in capital letters: The small dog sleeps in the garden.",
        instruction="Rewrite this sentence in capital letters:",
        context="The small dog sleeps in the garden.",
        template=True,
    )
    return str(explorer.findings())


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_findings_answer(text: str, question: str) -> None:
    assert re.search(QUESTIONS[question], text), text
