"""What a long prompt takes on the shape of a 135M model, beside plain passes of that length.

    python -m tests.benchmarks.long_prompts
    python -m tests.benchmarks.long_prompts --prompt 500 --what gradient_x_input occlusion

A random pair of SmolLM2-135M's shape reads one prompt and a given answer. CPU seconds, and the
most memory in use beside the loaded pair while each was computed. Occlusion reads the text again
for every prompt token: some tokens, evenly over the prompt, are hidden, and the rest is estimated.
So are integrated gradients: one point of their path is timed, and they take `PATH_POINTS` or more.
The baselines are passes of transformers alone: one forward pass with attention written out, as
twinlens reads, and one forward and backward pass per answer token by its fused attention.
"""

from __future__ import annotations

import argparse
import gc
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import psutil
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
from twinlens.compute.live.live import LiveTrace, trace_pair
from twinlens.compute.pair import Pair, load_pair
from twinlens.compute.passes.folding import Texts, embed
from twinlens.compute.passes.reading import log_probability
from twinlens.compute.saliency.estimates import PATH_POINTS, along_path, mean_embedding
from twinlens.compute.saliency.occlusion import occluded, read_intact
from twinlens.contract import blocks

from tests.support.real_pair import smollm2_pair_folders

METHODS = ("gradient_x_input", "attention_knockout", "integrated_gradients", "occlusion")
_SHAPE = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49152,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": True,
}
_SENTENCE = "The cat swims in the lake and the dog runs. "


def write_pair(folder: Path) -> tuple[Path, Path]:
    """Two random models with the tokenizer of SmolLM2."""
    tokenizer = AutoTokenizer.from_pretrained(smollm2_pair_folders()[0])
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**_SHAPE))
    for side in ("base", "tuned"):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.01 * torch.randn_like(parameter))
        model.save_pretrained(folder / side)
        tokenizer.save_pretrained(folder / side)
    return folder / "base", folder / "tuned"


class Meter:
    """CPU seconds and memory of pieces of work, beside what is in use at the start."""

    def __init__(self) -> None:
        gc.collect()
        self._before = psutil.Process().memory_info().rss

    def __call__(self, what: str, work: Callable[[], Any], note: str = "") -> tuple[Any, float]:
        with Path("/proc/self/clear_refs").open("w") as file:
            file.write("5")  # the largest memory in use counts from here
        start = time.process_time()
        made = work()
        seconds = time.process_time() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                peak = int(line.split()[1]) * 1024
        beside = (peak - self._before) / 1e9
        print(f"{what:34s} {seconds:8.1f} CPU s  {beside:5.2f} GB  {note}", flush=True)
        return made, seconds


def plain_passes(pair: Pair, ids: list[int], answer: int, meter: Meter) -> None:
    """Passes of transformers alone, with the same weights."""
    with pair.model("tuned") as model:
        read = torch.tensor([ids])
        with torch.no_grad():
            meter(
                "plain forward, attention written out",
                lambda: model(read, use_cache=False, logits_to_keep=answer),
            )
        before = model.config._attn_implementation
        model.set_attn_implementation("sdpa")
        embedded = model.get_input_embeddings()(read).detach().requires_grad_()

        def column() -> None:
            output = model(inputs_embeds=embedded, use_cache=False, logits_to_keep=answer)
            torch.autograd.grad(output.logits[0, 0].log_softmax(dim=-1)[0], embedded)

        meter("plain forward and backward", column, "one answer token, fused attention")
        model.set_attn_implementation(before)


def occlusion_part(trace: LiveTrace, count: int, meter: Meter) -> None:
    """Some prompt tokens hidden, evenly over the prompt."""
    n = trace.manifest.prompt_length
    places = np.linspace(1, n - 1, count).round().astype(int).tolist()
    with trace.pair.model("tuned") as model:
        reading = trace.subject.reading("tuned", model)
        intact = read_intact(reading)

        def work() -> None:
            for place in places:
                occluded(reading, intact, [[place]], "mask")

        _, seconds = meter(f"occlusion of {count} tokens", work)
    print(f"  {n} tokens would take about {seconds / count * n:,.0f} CPU s (estimated)")


def one_point(trace: LiveTrace, meter: Meter) -> None:
    """One point of the path of integrated gradients."""
    with trace.pair.model("tuned") as model:
        reading = trace.subject.reading("tuned", model)
        texts, start = Texts([reading], embed(reading)), mean_embedding(reading)
        columns = list(range(reading.answer_length))

        def work() -> None:
            for _ in along_path(texts, columns, log_probability, 1, start):
                pass

        _, seconds = meter("one point of integrated gradients", work)
    print(f"  {PATH_POINTS} points would take about {PATH_POINTS * seconds:,.0f} CPU s (estimated)")


def main() -> None:
    """Print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--prompt", type=int, default=2000, help="prompt tokens")
    parser.add_argument("--hidden", type=int, default=20, help="tokens that occlusion hides")
    parser.add_argument("--what", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--pair", type=Path, help="folder with base and tuned in place of those")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = arguments.pair
        base, tuned = (root / "base", root / "tuned") if root else write_pair(Path(folder))
        pair = load_pair(base, tuned)
        meter = Meter()
        tokenizer = pair.tokenizers["tuned"]
        ids = tokenizer(_SENTENCE * arguments.prompt)["input_ids"][: arguments.prompt]
        text = tokenizer.decode(ids, skip_special_tokens=True)
        said: list[str] = []
        trace, _ = meter(
            "both models read",
            lambda: trace_pair(
                pair, text, answer=" The dog", report=lambda done, total, what: said.append(what)
            ),
            "both sides, all that is kept",
        )
        m = trace.manifest
        print(f"  {m.prompt_length} prompt and {m.answer_length('tuned')} answer tokens; {said[0]}")
        for name in arguments.what:
            if name == "occlusion":
                occlusion_part(trace, arguments.hidden, meter)
            elif name == "integrated_gradients":
                one_point(trace, meter)
            else:
                meter(name, lambda name=name: trace.block(blocks.saliency("tuned", name)))
        # Last: they need the most memory, and what they let go of may stay with the process.
        plain_passes(pair, trace.subject.ids["tuned"], m.answer_length("tuned"), meter)


if __name__ == "__main__":
    main()
