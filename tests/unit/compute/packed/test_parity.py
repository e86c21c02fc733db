"""A page computes what Python computes; `make parity` does it for a thousand prompts."""

from __future__ import annotations

import dataclasses
import html
import re
from pathlib import Path

import pytest
import twinlens
from twinlens.compute.live.live import trace_pair

from tests.support.parity import BLOCKS, NEAR, Case, cases, compare, difference, in_page, near

pytestmark = pytest.mark.slow


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


def test_prompts_and_answers_of_a_sample(page: Path) -> None:
    pair = twinlens.demo_pair()
    read = ("logprob/base", "logprob/tuned")
    asked = [dataclasses.replace(case, blocks=read) for case in cases(14)]
    for case, found in zip(asked, in_page(page, asked), strict=True):
        worst = compare(pair, case, found)
        assert all(value < NEAR for value in worst.values()), (case, worst)


def test_every_block_of_one_prompt(page: Path) -> None:
    instruction = "Rewrite this sentence in capital letters:"
    case = Case(f"{instruction} The small dog sleeps.", instruction, "The small dog", blocks=BLOCKS)
    (found,) = in_page(page, [case])
    pair = twinlens.demo_pair()
    trace = trace_pair(
        pair,
        case.prompt,
        instruction=case.instruction,
        context=case.context,
        template=True,
        response="tuned",
    )
    assert list(found["blocks"]) == list(BLOCKS)
    for key, value in found["blocks"].items():
        mine = trace.block(key)
        assert near(key, mine, difference(mine, value, key)), key


def test_what_is_said_of_the_template(page: Path) -> None:
    asked = ("template/other_text", "findings")
    case = Case("Reverse this list: violin, apple, horse", response="base", blocks=asked)
    (found,) = in_page(page, [case])
    trace = trace_pair(twinlens.demo_pair(), case.prompt, template=True, response="base")
    for key, value in found["blocks"].items():
        mine = trace.block(key)
        assert near(key, mine, difference(mine, value, key)), key
    assert "template" in {finding["kind"] for finding in found["blocks"]["findings"]}
