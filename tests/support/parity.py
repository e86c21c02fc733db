"""What a page computes, beside what Python computes: the same prompts, tokens and numbers."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from twinlens.compute.live.live import LiveTrace, trace_pair
from twinlens.compute.pair import Pair
from twinlens.compute.text.answers import own_answer_of
from twinlens.compute.text.prompt import read_prompt
from twinlens.contract.words import SIDES
from twinlens.errors import TwinlensError

from gallery.embedded_pair.evaluation_set import read_set

ROOT = Path(__file__).parents[2]
#: Nats by which log-probabilities may differ.
NEAR = 1e-4
LONGEST = 64
#: Texts that are hard to cut.
HARD = (
    "Say this: 🦊👩‍💻🇨🇭 and é́̈!",
    "Translate: שלום עולם، مرحبا بالعالم",
    "  blanks \t in front\n\n and \u00a0\u2003\u3000 behind \x85 \x1c \ufeff ",
    "<s>### Request\nWho </s> am I <pad>?",
    "中文字符 日本語のテスト 한국어 ｆｕｌｌ",
    "a\u0300\u0301\u200d\ufe0f\u202eevil ½ ² Ⅷ ٣ 1234567",
    "'s can't ##### __x__ \\xf0 `{{ x }}` <img src=x onerror=alert(1)>",
)


@dataclass(frozen=True)
class Case:
    """A prompt as it is asked, in Python's words and in the page's."""

    prompt: str
    instruction: str | None = None
    context: str | None = None
    template: bool = True
    response: str = "tuned"
    blocks: tuple[str, ...] = field(default=())

    def asked(self) -> dict[str, Any]:
        """As the page is asked."""

        def span(part: str | None) -> list[int] | None:
            start = self.prompt.find(part) if part else -1
            return [start, start + len(part or "")] if start >= 0 else None

        return {
            "prompt": self.prompt,
            "instruction": span(self.instruction),
            "context": span(self.context),
            "template": self.template,
            "response": self.response,
            "blocks": list(self.blocks),
        }


def cases(count: int) -> list[Case]:
    """Hard texts, the longest context, and prompts of the evaluation set, asked in several ways."""
    hard = [Case(text, template=bool(i % 2)) for i, text in enumerate(HARD)]
    hard += [Case("The old dog sleeps. " * 100), Case("🦊" * 120, template=False)]
    entries = read_set()
    entries = entries[:: max(1, len(entries) // max(1, count - len(hard)))]
    drawn = [
        Case(
            entry["prompt"],
            entry["instruction"] or None,
            entry["context"] or None,
            template=i % 4 != 3,
            response=("tuned", "base", "tuned", "own")[i % 4],
        )
        for i, entry in enumerate(entries)
    ]
    return [*hard, *drawn][:count]


def in_page(page: Path, asked: Sequence[Case]) -> Iterator[dict[str, Any]]:
    """What the page makes of each case."""
    with tempfile.TemporaryDirectory() as folder:
        prompts = Path(folder) / "prompts.json"
        prompts.write_text(json.dumps([case.asked() for case in asked]))
        command = [sys.executable, str(ROOT / "hatch_build.py"), "npm", "exec", "--", "node"]
        command += ["test/live_parity.mjs", str(page), str(prompts)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as node:
            assert node.stdout is not None
            for line in node.stdout:
                if line.startswith(b"{"):  # npm may have something to say in front
                    yield json.loads(line)
            assert node.wait() == 0


def compare(pair: Pair, case: Case, found: dict[str, Any]) -> dict[str, float]:
    """Assert that both agree.

    Returns
    -------
    dict of str to float
        Largest difference of each block.
    """
    length = len(read_prompt(pair, case.prompt, template=case.template).tokens)
    assert pair.positions is not None
    refused = False
    try:
        trace = trace_pair(
            pair,
            case.prompt,
            instruction=case.instruction,
            context=case.context,
            template=case.template,
            response=case.response,
            max_new_tokens=max(1, min(LONGEST, pair.positions - length)),
        )
    except TwinlensError:
        refused = True
    assert refused == ("error" in found), f"one of them refuses {case}: {found.get('error')}"
    if refused:
        return {}
    m, other = json.loads(json.dumps(trace.manifest.to_json())), found["manifest"]
    for name in ("prompt", "prompt_tokens", "response", "shared"):
        assert other[name] == m[name], f"{name} of {case}"
    for side in SIDES:
        assert other["answers"][side]["tokens"] == m["answers"][side]["tokens"], (side, case)
        assert other["answers"][side]["text"] == m["answers"][side]["text"], (side, case)
        own = own_answer_of(trace_subject(trace), side, None)
        assert (found["own"][side]["ids"], found["own"][side]["stopped"]) == own, (side, case)
    worst = {}
    for key, value in found["blocks"].items():
        worst[key] = difference(trace.block(key), value, key)
    return worst


def trace_subject(trace: LiveTrace) -> Any:
    """What a live trace is about."""
    return trace.head_room._subject


def difference(one: Any, two: Any, where: str) -> float:
    """Largest difference of two values of one form; texts and structures have to be equal."""
    if isinstance(two, dict) and set(two) == {"shape", "data"}:
        assert list(np.shape(one)) == two["shape"], where
        data = np.array([math.nan if x is None else x for x in two["data"]], float)
        mine = np.asarray(one, float).ravel()
        known = np.isfinite(mine)
        return float(np.abs(mine[known] - data[known]).max(initial=0))
    if isinstance(one, dict):
        assert set(one) == set(two), where
        return max((difference(one[k], two[k], f"{where}.{k}") for k in one), default=0.0)
    if isinstance(one, (list, tuple)):
        assert len(one) == len(two), where
        pairs = enumerate(zip(one, two, strict=True))
        return max((difference(a, b, f"{where}[{i}]") for i, (a, b) in pairs), default=0.0)
    if isinstance(one, float) or (isinstance(two, float) and one is not None):
        return abs(float(one) - float(two))
    assert one == two, f"{where}: {one!r} and {two!r}"
    return 0.0


#: Blocks that are compared in full for one prompt; numbers in half precision by their digits.
BLOCKS = (
    *("answer/steps", "logprob/base", "disagreement", "alternatives/base"),
    *("saliency/base/occlusion", "saliency/tuned/occlusion", "saliency/tuned/occlusion_word"),
    *("saliency/base/occlusion_sentence", "saliency/tuned/occlusion_segment"),
    *("deletion/tuned/occlusion", "segments", "groups/word", "groups/sentence", "template"),
    *("heads/change", "heads/instruction/tuned", "heads/sink/base", "heads/received/tuned"),
    *("heads/entropy/base", "heads/previous/tuned", "attention/tuned/2/3"),
    *("heads/write/tuned/2/component:1", "heads/write/base/1/neuron:7"),
    *("heads/ablation/tuned/zero/answer", "heads/ablation/base/mean/2"),
    *("heads/ablation/tuned/other/answer", "heads/ablation/base/zero/1/2/3"),
    *("shift/attention", "shift/feed_forward", "shift/residual", "lens/tuned/20", "lens/base/3"),
    *("lens_table/base/tuned", "lens_table/tuned/tuned", "handover/base", "handover/tuned"),
    *("activations/base/1/components", "activations/tuned/2/base_components"),
    *("neurons/all/answer", "neurons/2/25", "neurons/1/3", "activations/tuned/2/neuron/5"),
    *("neuron/2/5", "neuron/ablation/tuned/3/17/answer", "neuron/change/1/4/5"),
    *("concepts/find/dog", "null", "carried/answer", "carried/2", "segments/elsewhere"),
    "template/other_text",
    *("exchanged/tuned/everywhere/answer", "exchanged/base/25/5", "exchanged/base/25/answer/1"),
    *("exchanged/tuned/30/3/2/17", "findings"),
)
#: Sums over an answer add up what each of its tokens is off by.
SUMS = ("deletion", "neurons", "lens/", "carried", "segments", "exchanged", "template/")
#: How far a block that Python keeps in half precision is off.
HALF = 2**-9


def near(key: str, pair_value: Any, worst: float) -> bool:
    """Whether a block agrees as far as its numbers are kept."""
    if getattr(pair_value, "dtype", None) == np.float16:
        return worst <= HALF * max(1.0, float(np.abs(pair_value).max()))
    return worst <= (10 * NEAR if key.startswith(SUMS) else NEAR)


def main() -> None:
    """Compare many prompts: ``python -m tests.support.parity [COUNT]``."""
    import dataclasses
    import time

    import twinlens

    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    pair = twinlens.demo_pair()
    read = ("logprob/base", "logprob/tuned")
    asked = [dataclasses.replace(case, blocks=read) for case in cases(count)]
    worst, refused, began = 0.0, 0, time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        page = twinlens.live_page(Path(folder) / "page.html", pair, recorded=0)
        for done, (case, found) in enumerate(zip(asked, in_page(page, asked), strict=True), 1):
            refused += "error" in found
            worst = max([worst, *compare(pair, case, found).values()])
            assert worst < NEAR, f"{worst} nats at {case}"
            if done % 50 == 0:
                print(f"{done} of {len(asked)}: within {worst:.1e} nats", flush=True)
    print(
        f"{len(asked)} prompts: tokens of prompts and answers are equal, log-probabilities within "
        f"{worst:.1e} nats; {refused} refused by both; {time.perf_counter() - began:.0f} s"
    )


if __name__ == "__main__":
    main()
