"""A page computes what Python computes; `make parity` does it for a thousand prompts."""

from __future__ import annotations

import dataclasses
import html
import re
from pathlib import Path
from typing import Any

import pytest
import twinlens
from twinlens.compute.live.live import trace_pair

from tests.support.parity import BLOCKS, NEAR, Case, cases, compare, difference, in_page, near

pytestmark = pytest.mark.slow

INSTRUCTION = "Rewrite this sentence in capital letters:"
PROMPT = f"{INSTRUCTION} The small dog sleeps."
EVERY = Case(PROMPT, INSTRUCTION, "The small dog", blocks=BLOCKS)
REVERSED = "Reverse this list: violin, apple, horse"
TEMPLATE = Case(REVERSED, response="base", blocks=("template/other_text", "findings"))


@pytest.fixture(scope="module")
def sample() -> list[Case]:
    read = ("logprob/base", "logprob/tuned")
    return [dataclasses.replace(case, blocks=read) for case in cases(14)]


@pytest.fixture(scope="module")
def found(page: Path, sample: list[Case]) -> list[dict[str, Any]]:
    """What the page makes of all that is asked here, opened once."""
    return list(in_page(page, [*sample, EVERY, TEMPLATE]))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return twinlens.live_page(tmp_path_factory.mktemp("live") / "page.html", recorded=0)


def test_page_holds_both_models_and_nothing_from_outside(page: Path) -> None:
    text = page.read_text()
    assert len(text) < 22e6
    rules = html.unescape(re.search('Policy" content="([^"]*)"', text)[1])  # type: ignore[index]
    assert "default-src 'none'" in rules
    assert "'wasm-unsafe-eval'" in rules
    assert "worker-src blob:" in rules
    assert not re.search(r"<(script|img|link|iframe)[^>]*\s(src|href)=", text)


def test_prompts_and_answers_of_a_sample(sample: list[Case], found: list[dict[str, Any]]) -> None:
    pair = twinlens.demo_pair()
    for case, one in zip(sample, found[:-2], strict=True):
        worst = compare(pair, case, one)
        assert all(value < NEAR for value in worst.values()), (case, worst)


def test_every_block_of_one_prompt(found: list[dict[str, Any]]) -> None:
    blocks = found[-2]["blocks"]
    trace = trace_pair(
        twinlens.demo_pair(),
        EVERY.prompt,
        instruction=EVERY.instruction,
        context=EVERY.context,
        template=True,
        response="tuned",
    )
    assert list(blocks) == list(BLOCKS)
    for key, value in blocks.items():
        mine = trace.block(key)
        assert near(key, mine, difference(mine, value, key)), key


def test_what_is_said_of_the_template(found: list[dict[str, Any]]) -> None:
    blocks = found[-1]["blocks"]
    trace = trace_pair(twinlens.demo_pair(), TEMPLATE.prompt, template=True, response="base")
    assert list(blocks) == list(TEMPLATE.blocks)
    for key, value in blocks.items():
        mine = trace.block(key)
        assert near(key, mine, difference(mine, value, key)), key
    assert "template" in {finding["kind"] for finding in blocks["findings"]}
