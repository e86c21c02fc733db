"""What is said of weights and template: on made-up numbers, and on models of a known kind."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import twinlens
from transformers import PreTrainedModel
from twinlens.commands.main import demo_prompts
from twinlens.compute.live.live import trace_pair
from twinlens.compute.models import architectures
from twinlens.compute.pair import Pair, load_pair
from twinlens.contract import blocks
from twinlens.contract.forms import Finding, Null
from twinlens.contract.wire import Value
from twinlens.errors import UnknownBlockError
from twinlens.measures.findings import template_finding
from twinlens.measures.findings_text import Findings
from twinlens.support.progress import Report

from tests.support.made_up import MadeUpTrace


@pytest.fixture(scope="module")
def demo() -> Pair:
    return twinlens.demo_pair()


EXACT = Null(fraction=1.0, update=[], scrambled=[], rounding=[0.0], changed=[])


class Read(MadeUpTrace):
    """What the answer is worth inside the template, alone, and with other text in its place."""

    def __init__(
        self,
        inside: tuple[float, float],
        plain: tuple[float, float],
        others: list[tuple[float, float]] | None,
    ) -> None:
        super().__init__()
        names = ("base", "tuned", "base_plain", "tuned_plain")
        self.effects = {n: [x / 2] * 2 for n, x in zip(names, (*inside, *plain), strict=True)}
        self.others = others

    def block(self, key: str, report: Report | None = None) -> Value:
        if key == blocks.template():
            return self.effects
        assert key == blocks.other_texts()
        if self.others is None:
            raise UnknownBlockError("not in this recording")
        return [{"base": base, "tuned": tuned} for base, tuned in self.others]


def others(base: float, tuned: float, spread: float = 0.5) -> list[tuple[float, float]]:
    steps = [spread * (i - 2) for i in range(5)]
    return [(base - step, tuned + step) for step in steps]


NEAR = others(-30.0, -20.0)


SMALL = "tuned moves this answer by less than 1.0 nats."


@pytest.mark.parametrize(
    ("inside", "plain", "beside", "title"),
    [
        ((-30, -10), (-30, -20), NEAR, "tuned loses more of this answer than base."),
        ((-20, -20), (-30, -20), NEAR, "base loses more of this answer than tuned."),
        ((-30, -30), (-30, -20), NEAR, "tuned gives this answer more often."),
        ((-40, -20), (-30, -20), NEAR, "base gives this answer more often."),
        # Other text in its place does as much, or it cannot be told.
        ((-30, -10), (-30, -20), others(-30.0, -10.0), None),
        ((-30, -10), (-30, -20), others(-30.0, -20.0, 6.0), None),
        ((-30, -10), (-30, -20), NEAR[:2], None),
        # Other text parts the models, and the template leaves them as they are.
        ((-30, -20), (-30, -20), others(-30.0, -40.0), None),
        # The same in both, whatever it is.
        ((-20, -10), (-30, -20), NEAR, None),
        # Nothing around the prompt matters.
        ((-30, -20), (-30, -20), others(-30.0, -20.0, 0.1), SMALL),
        ((-20, -20), (-20, -20), others(-20.0, -20.0, 0.1), None),
        ((-30, -10), (-30, -20), None, None),
    ],
)
def test_the_template_is_told_from_other_text(
    inside: tuple[float, float],
    plain: tuple[float, float],
    beside: list[tuple[float, float]] | None,
    title: str | None,
) -> None:
    found = template_finding(Read(inside, plain, beside), EXACT, None)
    assert (found and found["title"]) == (title and f"Without the template {title}")


def test_it_says_both_effects_and_what_they_stand_beside() -> None:
    found = template_finding(Read((-30, -10), (-30, -20), NEAR), EXACT, None)
    assert found is not None
    assert str(Findings([found])) == (
        "Without the template tuned loses more of this answer than base. Weights +20.0 nats (in "
        "the template), template +10.0 (in tuned), together +10.0. [measured; five other texts of "
        "its length in its place: together 0.0, p 0.004]"
    )
    rounded = Null(**{**EXACT, "rounding": [18.0]})
    assert template_finding(Read((-30, -10), (-30, -20), NEAR), rounded, None) is None


def found(base: PreTrainedModel, tuned: PreTrainedModel, pair: Pair, answer: str) -> list[Any]:
    """Of every third prompt of the demo, in tuned's template."""
    beside = load_pair(base, tuned, tokenizer=pair.tokenizers["tuned"])
    read: list[Finding | None] = []
    for prompt in demo_prompts()[::3]:
        options: Any = {"response": answer, "template": True, "max_new_tokens": 16}
        trace = trace_pair(beside, prompt["prompt"], **options)
        assert sum(trace.block(blocks.template())["template"]) != 0
        read.append(template_finding(trace, EXACT, None))
    return read


def noised(model: PreTrainedModel) -> PreTrainedModel:
    """Changed all over a layer, with no regard to any template."""
    changed = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        weight = architectures.feed_forward_out(changed, 1).weight
        weight += torch.randn(weight.shape, generator=generator) * weight.std()
    return changed


@pytest.mark.slow
def test_only_what_was_tuned_in_a_template_is_told_to_have_learned_it(demo: Pair) -> None:
    with demo.model("base") as base, demo.model("tuned") as tuned:
        neither = found(base, base, demo, "tuned")
        template_only = found(tuned, tuned, demo, "tuned")
        weights_only = found(base, noised(base), demo, "tuned")
        both = found(base, tuned, demo, "base")
    assert neither == template_only == weights_only == [None] * len(both)
    titles = {one["title"] for one in both if one}
    assert sum(one is not None for one in both) >= len(both) - 1
    assert titles <= {
        "Without the template base loses more of this answer than tuned.",
        "Without the template tuned gives this answer more often.",
    }
