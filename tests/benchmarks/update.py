"""Updates taken apart: what small sets keep, whether effects hold, and what they cost.

python -m tests.benchmarks.update                # the embedded pair, 20 prompts
python -m tests.benchmarks.update --smollm2      # SmolLM2-135M with a LoRA of rank 16: speed
python -m tests.benchmarks.update --diff 2       # two files of so many Mistral-7B layers: diff
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from twinlens.compute.pair import demo_pair, load_pair
from twinlens.compute.update.checks import agreement
from twinlens.compute.update.effects import integrated
from twinlens.compute.update.stored import diff_of_files

from tests.support.places import ROOT
from tests.support.real_pair import smollm2_pair_folders

_MATRICES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_SHAPES = ((4096, 4096), (1024, 4096), (1024, 4096), (4096, 4096), *[(14336, 4096)] * 2)
_POINTS = 4


def embedded(count: int) -> None:
    """Curves, sums and agreement over prompts of different tasks."""
    lines = (ROOT / "gallery/embedded_pair/evaluation_set.jsonl").read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    update = demo_pair().update()
    kept: dict[str, list[list[float]]] = {}
    off, needed = [], []
    agreements: dict[str, list[float]] = {"made the change": [], "would be lost": []}
    for row in rows[:: len(rows) // count][:count]:
        on = update.on(row["prompt"], template=True, max_new_tokens=24)
        off.append(abs(on.effects().total / on.shift.nats - 1))
        minimal = on.minimal()
        needed.append([curve.needed for curve in minimal.curves])
        for curve in minimal.curves:
            kept.setdefault(curve.order, []).append(curve.kept)
        for question in agreements:
            agreements[question].append(agreement(list(on.check(question, 8))))  # type: ignore[arg-type]
        print(f"{row['task']:14} {on.shift.nats:6.1f} nats  {minimal!r}", flush=True)
    counts = minimal.curves[0].counts
    print(f"sum of effects off the shift: mean {np.mean(off):.3%}, largest {max(off):.3%}")
    print("share kept at", ", ".join(f"{c / update.count:.1%}" for c in counts))
    for order, values in kept.items():
        print(f"{order:12}", ", ".join(f"{value:.2f}" for value in np.mean(values, axis=0)))
    print("needed, median:", dict(zip(kept, np.median(needed, axis=0).tolist(), strict=True)))
    for question, found in agreements.items():
        print(f"{question}: Spearman with interventions, median {np.median(found):.2f}")


def smollm2() -> None:
    """CPU seconds of path effects against the plain passes of as many points."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base, _ = smollm2_pair_folders()
    with tempfile.TemporaryDirectory() as folder:
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        lora = LoraConfig(r=16, target_modules=list(_MATRICES), init_lora_weights=False)
        get_peft_model(model, lora).save_pretrained(folder)
        pair = load_pair(base, folder)
    assert pair._resident["base"] is pair._resident["tuned"]
    start = time.process_time()
    update = pair.update()
    print(f"{update!r}: {time.process_time() - start:.1f} CPU seconds")
    on = update.on("Name the opposite of each word: " + "hot, " * 8, max_new_tokens=32)
    ids = torch.tensor([on.ids[:-1]])
    ratios = []
    for _ in range(3):
        start = time.process_time()
        integrated(on.mixed, _POINTS, None)
        ours = time.process_time() - start
        with pair.model("tuned") as model:
            start = time.process_time()
            for _ in range(_POINTS):
                # What the passes cost without anything of ours: the slope by the embeddings.
                given = model.get_input_embeddings()(ids).requires_grad_()
                with torch.enable_grad():
                    logits = model(
                        inputs_embeds=given,
                        use_cache=False,
                        logits_to_keep=on.mixed.reading.positions,
                    ).logits
                    total = logits.double().log_softmax(-1).sum()
                torch.autograd.grad(total, given)
            ratios.append(ours / (time.process_time() - start))
    print(f"{len(on.ids)} tokens: {np.median(ratios):.2f} times the plain passes ({ratios})")


def diff(layers: int) -> None:
    """Rate and memory of `twinlens.diff`, against reading both files."""
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for side in ("base", "tuned"):
            tensors = {}
            for layer in range(layers):
                made = torch.Generator().manual_seed(layer)
                shapes = (*_SHAPES, (4096, 14336))
                for name, shape in zip(_MATRICES, shapes, strict=True):
                    weight = torch.randn(shape, generator=made).mul_(0.02)
                    if side == "tuned":
                        weight += torch.randn(shape, generator=made).mul_(0.001)
                    else:
                        torch.randn(shape, generator=made)
                    tensors[f"model.layers.{layer}.{name}.weight"] = weight.bfloat16()
            files.append(Path(folder) / side / "model.safetensors")
            files[-1].parent.mkdir()
            save_file(tensors, files[-1])
            del tensors
        size = sum(file.stat().st_size for file in files) / 1e9
        buffer = bytearray(2**24)
        for _ in range(2):
            start = time.process_time()
            for file in files:
                with file.open("rb", buffering=0) as stream:
                    while stream.readinto(buffer):
                        pass
            read = size / (time.process_time() - start)
        start = time.process_time()
        diff_of_files(files[0].parent, files[1].parent)
        rate = size / (time.process_time() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{size:.1f} GB: {rate:.2f} GB per CPU second, reading alone {read:.2f} ({rate / read:.0%})"
    )
    print(f"peak memory with making the files {peak:.1f} GB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=20)
    parser.add_argument("--smollm2", action="store_true")
    parser.add_argument("--diff", type=int, metavar="LAYERS")
    chosen = parser.parse_args()
    if chosen.diff:
        diff(chosen.diff)
    elif chosen.smollm2:
        smollm2()
    else:
        embedded(chosen.prompts)
