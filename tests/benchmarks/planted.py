"""Edits of a known place: does what carries the difference name it, and is nothing said of nulls?

    python -m tests.benchmarks.planted --results FILE               # the embedded model
    python -m tests.benchmarks.planted --results FILE --smollm2     # SmolLM2-135M
    python -m tests.benchmarks.planted --results FILE --selves 1000 --only-selves

The model is compared with a copy that was edited at one place (a head zeroed, flipped or rewired;
a block scaled, noised or given a rank-one update; neurons; a word's embedding, tied or not; the
unembedding; a norm), trained at one place, edited at two, or not changed in any way that could be
learned. What was found is kept in a file; `planted.md` has the last run with every failure.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from twinlens.commands.main import demo_prompts
from twinlens.compute.live.live import LiveTrace, trace_pair
from twinlens.compute.pair import load_pair
from twinlens.contract import blocks
from twinlens.errors import TwinlensError
from twinlens.measures.chance import changed_places, distinguishable, p_value, same

from tests.benchmarks.planted_edits import Edit, Planted, noise, nulls, planted
from tests.support.real_pair import smollm2_pair_folders

#: Nats of KL(edited || model) over the answer below which an edit changes nothing.
CHANGES = 0.05
#: Prompts an edit is tried on, until one's answer changes.
PROMPTS_TRIED = 4
#: Kinds of comparisons with itself: noise on all weights, from and to which power of ten of their
#: standard deviation. The smaller hardly moves predictions; the larger does, to a broken model.
SELVES = (("self", -4, -1), ("far self", -1.3, -0.3))
PROMPTS = (
    "Rewrite the sentence in plain words.\n\nInput: The committee concurred.\n\nOutput:",
    "Write the capital city of each country.\nFrance: Paris\nItaly:",
    "Q: Name three animals that live in the sea.\nA:",
)


@dataclass(frozen=True)
class Bench:
    """A model, how its pairs are read, and its prompts."""

    model: PreTrainedModel
    tokenizer: object
    prompts: list[str]
    template: bool
    tokens: int

    def trace(self, edit: Edit, seed: int, prompt: str) -> LiveTrace | None:
        """A pair of the model and its edited copy, read; None where there is no answer."""
        edited = copy.deepcopy(self.model)
        with torch.no_grad():
            edit(edited, torch.Generator().manual_seed(seed))
        pair = load_pair(self.model, edited, tokenizer=self.tokenizer)
        try:
            return trace_pair(
                pair,
                prompt,
                response="shared",
                template=self.template,
                max_new_tokens=self.tokens,
            )
        except TwinlensError:
            return None


@dataclass(frozen=True)
class Case:
    """What is asked of one pair; the answer is None where there is nothing to ask."""

    name: str
    kind: str
    find: Callable[[], dict[str, Any] | None]


class Results:
    """What was found, case by case: kept in a file, so that a run can be gone on with."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cases: dict[str, dict[str, Any]] = (
            json.loads(path.read_text()) if path.exists() else {}
        )

    def run(self, case: Case) -> None:
        if case.name in self.cases or (found := case.find()) is None:
            return
        self.cases[case.name] = {"kind": case.kind} | found
        self.path.write_text(json.dumps(self.cases, indent=0))
        print(case.name, self.cases[case.name], flush=True)


def judged(bench: Bench, edits: list[Planted], kind: str) -> list[Case]:
    """Whether the right places come first, edit by edit."""
    return [
        Case(f"{kind}: {planted.name}", kind, partial(_judged, bench, planted, number))
        for number, planted in enumerate(edits)
    ]


def _judged(bench: Bench, planted: Planted, number: int) -> dict[str, Any]:
    """Of the first of some prompts whose answer changes."""
    for attempt in range(PROMPTS_TRIED):
        prompt = bench.prompts[(number + attempt) % len(bench.prompts)]
        trace = bench.trace(planted.edit, number, prompt)
        if trace is None:
            continue
        steps = trace.block(blocks.answer_steps())
        kl = sum(step["kl"] for step in steps)
        if kl < CHANGES:
            continue
        found, null = trace.block(blocks.carried(None)), trace.block(blocks.null())
        order = [(part["kind"], part["layer"], part["head"]) for part in found["weights"]]
        ranks = sorted(order.index(where) for where in planted.blocks)
        named = [(place["kind"], place["layer"], -1) for place in changed_places(null)]
        parts = [(part["kind"], part["layer"], part["head"]) for part in found["parts"]]
        head = None if planted.head is None else parts[:1] == [planted.head]
        neurons = _neurons(trace, planted)
        return {
            "kl": kl,
            "right": ranks == [0] if len(ranks) == 1 else ranks[-1] <= 2,
            "head": head,
            "neuron": neurons[0][0] == planted.neuron if neurons else None,
            "neurons": neurons,
            "spoken": distinguishable(steps, null),
            "named": set(named) == set(planted.blocks),
            "p": p_value(null["update"], null["scrambled"]),
            "first": [
                [*where, round(part["share"], 2)]
                for where, part in zip(order[:3], found["weights"], strict=False)
            ],
            "parts": parts[:3],
        }
    return {"kl": 0.0}


def _neurons(trace: LiveTrace, planted: Planted) -> list[list[float]]:
    """The first of the neurons of an edited one's layer; none where no single one was edited."""
    if planted.neuron is None:
        return []
    rows = trace.block(blocks.exchanged_neurons("tuned", None, None, planted.blocks[0][1]))
    return [[neuron, round(share, 3)] for neuron, _, share in rows[:3]]


def templates(bench: Bench) -> list[Case]:
    """The same weights, with and without the template: no finding, and no effect of weights."""

    def found(number: int, prompt: str) -> dict[str, Any] | None:
        trace = bench.trace(lambda *_: None, number, prompt)
        if trace is None:
            return None
        effects = trace.block(blocks.template())
        return {
            "kl": float(np.abs(effects["template"]).sum()),
            "right": float(np.abs(effects["weights"]).max()) < 1e-3,
            "silent": _quiet(trace),
        }

    return [
        Case(f"template: prompt {number}", "template", partial(found, number, prompt))
        for number, prompt in enumerate(bench.prompts[:4])
    ]


def silences(bench: Bench, kind: str, edits: list[tuple[str, Edit]], first: int) -> list[Case]:
    """Whether nothing is said where nothing was learned."""

    def found(number: int, edit: Edit) -> dict[str, Any]:
        trace = bench.trace(edit, number, bench.prompts[number % len(bench.prompts)])
        case: dict[str, Any] = {"silent": trace is None or _quiet(trace)}
        if trace is not None and not same(trace.block(blocks.answer_steps())):
            null = trace.block(blocks.null())
            case["p"] = p_value(null["update"], null["scrambled"])
        return case

    return [
        Case(f"{kind}: {name}", kind, partial(found, first + number, edit))
        for number, (name, edit) in enumerate(edits)
    ]


def selves(kind: str, low: float, high: float, count: int) -> list[tuple[str, Edit]]:
    """Noise on all weights, of sizes between two powers of ten."""
    sizes = np.random.default_rng(0).uniform(low, high, size=count)
    return [
        (f"{number}, noise {10**size:.2g}", noise(10**size)) for number, size in enumerate(sizes)
    ]


def in_turns(kinds: list[list[Case]]) -> list[Case]:
    """Cases of all kinds in such an order that a run that is stopped has its share of each."""
    placed = [
        ((number + 0.5) / len(cases), case) for cases in kinds for number, case in enumerate(cases)
    ]
    return [case for _, case in sorted(placed, key=lambda place: place[0])]


def _quiet(trace: LiveTrace) -> bool:
    return trace.block(blocks.findings())[0]["kind"] == "nothing"


def summary(results: Results, model: str) -> str:
    """Shares, and every failure, as Markdown."""
    cases = results.cases
    lines = [f"## {model}", "", "| what | right | of |", "|---|--:|--:|"]
    failures = []
    for kind, field, words in (
        ("edit", "right", "one place edited: its block first"),
        ("edit", "head", "a head edited: the head first"),
        ("edit", "named", "one place edited: a finding names it"),
        ("edit", "spoken", "one place edited: something is said"),
        ("neuron", "right", "a neuron edited: its block first"),
        ("neuron", "neuron", "a neuron edited: the neuron first in it"),
        ("neuron", "named", "a neuron edited: a finding names its block"),
        ("training", "right", "one place trained: its block first"),
        ("training", "named", "one place trained: a finding names it"),
        ("training", "spoken", "one place trained: something is said"),
        ("two places", "right", "two places edited: both among the first three"),
        ("two places", "named", "two places edited: a finding names both"),
        ("two places", "spoken", "two places edited: something is said"),
        ("template", "right", "template only: no effect of weights"),
        ("template", "silent", "template only: no finding"),
        ("null", "silent", "nulls: no finding"),
        ("self", "silent", "the model beside itself with noise: no finding"),
        ("far self", "silent", "the model beside itself with noise that moves it: no finding"),
    ):
        asked = {
            name: case
            for name, case in cases.items()
            if case["kind"] == kind and case.get(field) is not None
        }
        wrong = [name for name, case in asked.items() if not case[field]]
        if asked:
            lines.append(f"| {words} | {len(asked) - len(wrong)} | {len(asked)} |")
        failures += [f"- {words}, not so of {name}: {_told(cases[name])}" for name in wrong]
    unchanged = [name for name, case in cases.items() if case.get("kl") == 0]
    if unchanged:
        failures.append(
            f"- {len(unchanged)} changed no answer by {CHANGES} nats and "
            f"{'were' if len(unchanged) > 1 else 'was'} not judged: {'; '.join(unchanged)}"
        )
    return "\n".join([*lines, "", *failures, ""])


def _told(case: dict[str, Any]) -> str:
    told = [f"KL {case['kl']:.2g} nats"] if "kl" in case else []
    told += [f"p {case['p']:.1g}"] if "p" in case else []
    told += [f"first {case['first']}"] if "first" in case else []
    told += [f"parts {case['parts']}"] if case.get("head") is False else []
    told += [f"neurons {case['neurons']}"] if case.get("neuron") is False else []
    return ", ".join(told)


def main() -> None:
    """Run the bench and print the shares, failures first."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smollm2", action="store_true")
    parser.add_argument("--selves", type=int, default=20, help="of each kind")
    parser.add_argument("--each", type=int, help="cases of each kind at most")
    parser.add_argument("--only-selves", action="store_true")
    parser.add_argument(
        "--results", type=Path, required=True, help="file to keep, and to go on with"
    )
    parser.add_argument("--summary", action="store_true", help="of what is kept, without a run")
    options = parser.parse_args()
    name = "SmolLM2-135M" if options.smollm2 else "The embedded model"
    results = Results(options.results)
    if options.summary:
        print(summary(results, name))
        return
    folder = files("twinlens") / "demo" / "tuned"
    if options.smollm2:
        folder, _ = smollm2_pair_folders()
    model = AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32)
    model = model.eval().requires_grad_(False)
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    prompts = list(PROMPTS) if options.smollm2 else [p["prompt"] for p in demo_prompts()]
    bench = Bench(model, tokenizer, prompts, not options.smollm2, 12 if options.smollm2 else 24)
    every_null = list(nulls())
    asked = [
        silences(bench, kind, selves(kind, low, high, options.selves), len(every_null) + skipped)
        for skipped, (kind, low, high) in zip((0, options.selves), SELVES, strict=True)
    ]
    asked.append(silences(bench, "null", every_null, 0))
    if not options.only_selves:
        for kind, edits in planted(model, tokenizer, prompts).items():
            asked.append(judged(bench, edits[: options.each], kind))
        if not options.smollm2:
            asked.append(templates(bench))
    for case in in_turns(asked):
        results.run(case)
    print(summary(results, name))


if __name__ == "__main__":
    main()
