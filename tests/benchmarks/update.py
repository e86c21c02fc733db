"""Updates taken apart: what small sets keep, whether effects hold, and what they cost.

python -m tests.benchmarks.update              # the embedded pair, 20 prompts
python -m tests.benchmarks.update --speed      # a LoRA of rank 16 over SmolLM2-135M: path effects
python -m tests.benchmarks.update --memory     # two whole models of SmolLM2-135M's shapes: peak
python -m tests.benchmarks.update --diff 4     # two models of so many Mistral-7B layers: diff

Speed and memory do not depend on what weights hold: those of the last three are random.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from twinlens.compute.pair import demo_pair, load_pair
from twinlens.compute.update.direction_effects import agreement, integrated
from twinlens.compute.update.on_prompt import PromptUpdate
from twinlens.compute.update.stored_diff import diff_of_files
from twinlens.contract.words import Side

from tests.support import tiny
from tests.support.places import ROOT

_MATRICES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_SHAPES = ((4096, 4096), (1024, 4096), (1024, 4096), (4096, 4096), *[(14336, 4096)] * 2)
_POINTS, _ROUNDS = 4, 7


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
        low, middle, high = np.percentile(values, (0, 50, 100), axis=0)
        shown = zip(middle, low, high, strict=True)
        print(f"{order:12}", ", ".join(f"{m:.2f} ({a:.2f} to {b:.2f})" for m, a, b in shown))
    print("needed, median:", dict(zip(kept, np.median(needed, axis=0).tolist(), strict=True)))
    for question, found in agreements.items():
        print(f"{question}: Spearman with interventions, median {np.median(found):.2f}")


def whole(folder: Path) -> Path:
    """A model of SmolLM2-135M's shapes."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=49152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return folder


def speed() -> None:
    """Time of path effects against that of the plain passes of as many points."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    with tempfile.TemporaryDirectory() as folder:
        base = whole(Path(folder) / "base")
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        lora = LoraConfig(r=16, target_modules=list(_MATRICES), init_lora_weights=False)
        get_peft_model(model, lora).save_pretrained(Path(folder) / "lora")
        pair = load_pair(base, Path(folder) / "lora")
    assert pair._resident["base"] is pair._resident["tuned"]
    update = pair.update()
    reading = PromptUpdate(update, list(range(100, 164)), 32, [str(i) for i in range(64)])
    mixed, ids = reading.mixed, torch.tensor([reading.ids[:-1]])

    def plain(side: Side) -> None:
        """What the passes cost without anything of ours: the slope by the embeddings."""
        with pair.model(side) as model:
            for _ in range(_POINTS):
                given = model.get_input_embeddings()(ids).requires_grad_()
                with torch.enable_grad():
                    logits = model(
                        inputs_embeds=given, use_cache=False, logits_to_keep=mixed.reading.positions
                    ).logits
                    total = logits.double().log_softmax(-1).sum()
                torch.autograd.grad(total, given)

    runs = {
        "ours": lambda: integrated(mixed, _POINTS, None),
        "with the adapter": lambda: plain("tuned"),
        "without it": lambda: plain("base"),
    }
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(_ROUNDS):
        for name, run in runs.items():
            start = time.process_time()
            run()
            times[name].append(time.process_time() - start)
    print(f"{update!r}, {len(reading.ids)} tokens, 32 of them answer")
    for name in list(runs)[1:]:
        ratios = np.array(times["ours"]) / np.array(times[name])
        print(
            f"plain passes {name}, {min(times[name]) / _POINTS:.2f} CPU seconds each: ours take "
            f"{np.median(ratios):.2f} times as long ({', '.join(f'{r:.2f}' for r in ratios)}), "
            f"{min(times['ours']) / min(times[name]):.2f} of the fastest each"
        )


def memory() -> None:
    """Peak memory of an update of whole models, and of its effects, beside both models'."""
    with tempfile.TemporaryDirectory() as folder:
        base = whole(Path(folder) / "base")
        tuned = Path(folder) / "tuned"
        shutil.copytree(base, tuned)
        weights = load_file(base / "model.safetensors")
        torch.manual_seed(1)
        for weight in weights.values():
            weight += 0.01 * weight.std() * torch.randn_like(weight)
        save_file(weights, tuned / "model.safetensors", metadata={"format": "pt"})
        del weights
        _child(f"_peak({str(base)!r}, {str(tuned)!r})")


def _peak(base: str, tuned: str) -> None:
    pair = load_pair(base, tuned)
    print(f"both models loaded: {_peak_memory():.2f} GB", flush=True)
    start = time.perf_counter()
    update = pair.update()
    numbers = sum(m.rank * sum(m.shape) for m in update.matrices)
    print(
        f"taken apart: {_peak_memory():.2f} GB, {time.perf_counter() - start:.0f} s; {update!r}, "
        f"{4 * numbers / 2**30:.2f} GB of directions",
        flush=True,
    )
    on = PromptUpdate(update, list(range(100, 164)), 32, [str(i) for i in range(64)])
    on.effects(2)
    print(f"effects: {_peak_memory():.2f} GB", flush=True)
    on.keep(range(0, update.count, 50))
    on.null(1)
    print(f"a set, and a random update: {_peak_memory():.2f} GB", flush=True)


def diff(layers: int) -> None:
    """Rate and memory of `twinlens.diff`, against reading the files; every layer holds the same."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with tempfile.TemporaryDirectory() as folder:
        sides = [Path(folder) / side for side in ("base", "tuned")]
        for place, side in enumerate(sides):
            made = torch.Generator(device).manual_seed(0)
            weights = {}
            for name, shape in zip(_MATRICES, (*_SHAPES, (4096, 14336)), strict=True):
                drawn = (torch.randn(shape, generator=made, device=device) for _ in range(2))
                weight = 0.02 * next(drawn) + place * 0.001 * next(drawn)
                weights[name] = weight.bfloat16().cpu()
            side.mkdir()
            for layer in range(layers):
                named = {f"model.layers.{layer}.{name}.weight": w for name, w in weights.items()}
                save_file(named, side / f"model-{layer:05}.safetensors")
            names = {
                f"model.layers.{layer}.{name}.weight": f"model-{layer:05}.safetensors"
                for layer in range(layers)
                for name in weights
            }
            index = json.dumps({"weight_map": names})
            (side / "model.safetensors.index.json").write_text(index)
            del weights
        files = [file for side in sides for file in sorted(side.glob("*.safetensors"))]
        size = sum(file.stat().st_size for file in files) / 1e9
        print(f"two models of {layers} layers, {size:.1f} GB", flush=True)
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
        for cached in (False, True) if size < memory / 2 else (False,):
            for run in ("_read", "_touch", "_diff"):
                for file in files:
                    _cached(file, cached)
                _child(f"{run}({size!r}, {[str(file) for file in files]!r}, {cached})")


def _cached(file: Path, cached: bool) -> None:
    """Bring a file into the system's cache, or out of it."""
    with file.open("rb") as stream:
        if cached:
            while stream.read(2**24):
                pass
        else:
            os.fsync(stream.fileno())
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _read(size: float, files: list[str], cached: bool) -> None:
    buffer = bytearray(2**24)
    start = time.perf_counter(), time.process_time()
    for file in files:
        with open(file, "rb", buffering=0) as stream:
            while stream.readinto(buffer):
                pass
    _rate("reading alone", size, cached, start)


def _touch(size: float, files: list[str], cached: bool) -> None:
    """Every number of every tensor, as safetensors gives them."""
    start = time.perf_counter(), time.process_time()
    for path in files:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118
                file.get_tensor(name).view(torch.int64).max()
    _rate("safetensors", size, cached, start)


def _diff(size: float, files: list[str], cached: bool) -> None:
    start = time.perf_counter(), time.process_time()
    diff_of_files(*sorted({Path(file).parent for file in files}))
    _rate("diff", size, cached, start)


def _rate(name: str, size: float, cached: bool, start: tuple[float, float]) -> None:
    seconds, cpu = time.perf_counter() - start[0], time.process_time() - start[1]
    print(
        f"{name} from {'cache' if cached else 'disk'}: {size / seconds:.2f} GB/s, {seconds:.1f} s, "
        f"{cpu:.1f} CPU seconds, peak {_peak_memory():.2f} GB",
        flush=True,
    )


def _peak_memory() -> float:
    """Largest resident memory of this process; `getrusage` counts that of its parent, too."""
    (line,) = (s for s in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in s)
    return int(line.split()[1]) / 2**20


def _child(call: str) -> None:
    """Run a function of this file in a process of its own: its peak is its own, too."""
    code = f"from tests.benchmarks import update; update.{call}"
    subprocess.run([sys.executable, "-c", code], check=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=20)
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--diff", type=int, metavar="LAYERS")
    chosen = parser.parse_args()
    if chosen.diff:
        diff(chosen.diff)
    elif chosen.speed:
        speed()
    elif chosen.memory:
        memory()
    else:
        embedded(chosen.prompts)
