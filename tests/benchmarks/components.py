"""Components and their words: time against full decompositions and sorts, and peak memory.

    python -m tests.benchmarks.components                     # the size of SmolLM2-135M
    python -m tests.benchmarks.components --layers 3          # a reduced run
    python -m tests.benchmarks.components --model FOLDER      # weights and tokenizer of a model
    python -m tests.benchmarks.components --shape mistral --layers 4 --memory

The reference does for every layer what the paper's code does: a singular value decomposition with
all components (in float64, as the package's), the cosine of every component with every word, and a
full sort of these. Both ways run in this process, layer by layer in turn, and are timed in CPU
seconds, so that other work on the machine counts little; use one thread (OMP_NUM_THREADS=1).
Weights are random, with a spectrum that falls, in sharded files. With --memory only the package's
way runs, in a process of its own, and the peak of its memory is told (Linux only; mapped pages of
the files count).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import AutoTokenizer, LlamaConfig, MistralConfig, PreTrainedTokenizerFast
from twinlens.compute.concepts.components import (
    ConceptSettings,
    layer_components,
    value_vectors,
)
from twinlens.compute.models.weights import Weights
from twinlens.compute.words.word_rows import WordRows, word_rows
from twinlens.weights.vocabulary import vocabulary

# Cosines this near to each other depend on how float32 sums are ordered.
ROUNDING = 1e-5
SHAPES = {
    "smollm2": LlamaConfig(
        hidden_size=576,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        intermediate_size=1536,
        vocab_size=49_152,
        tie_word_embeddings=True,
        dtype="float32",
    ),
    "mistral": MistralConfig(
        hidden_size=4096,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        intermediate_size=14_336,
        vocab_size=32_000,
        tie_word_embeddings=False,
        dtype="bfloat16",
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="model folder; random weights by default")
    parser.add_argument("--shape", choices=SHAPES, default="smollm2")
    parser.add_argument("--layers", type=int)
    parser.add_argument("--components", type=int, default=300)
    parser.add_argument("--words", type=int, default=50)
    parser.add_argument("--vocabulary", type=int, default=20_000)
    parser.add_argument("--memory", action="store_true", help="peak memory instead of time")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if options.model is None:
            layers = options.layers or SHAPES[options.shape].num_hidden_layers
            options.model = random_model(Path(scratch), options.shape, layers)
        if options.child:
            print(json.dumps(_peak(options)))
        elif options.memory:
            command = [sys.executable, "-m", "tests.benchmarks.components", "--child"]
            for name in ("model", "layers", "components", "words", "vocabulary"):
                if getattr(options, name) is not None:
                    command += [f"--{name}", str(getattr(options, name))]
            _tell_peak(
                json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
            )
        else:
            _compare(options)


def random_model(folder: Path, shape: str, layers: int) -> Path:
    """Random weights in one shard per layer, and a tokenizer with one token per word."""
    made = torch.Generator().manual_seed(0)
    config = SHAPES[shape]
    config.num_hidden_layers = layers
    config.save_pretrained(folder)
    hidden, inner, dtype = config.hidden_size, config.intermediate_size, config.dtype
    heads = config.num_key_value_heads * (hidden // config.num_attention_heads)

    def random(*size: int) -> Tensor:
        return (torch.randn(size, generator=made) * 0.02).to(dtype)

    falling = torch.linspace(2, 0.2, hidden)[:, None].to(dtype)
    parts = {"self_attn.q_proj": (hidden, hidden), "self_attn.o_proj": (hidden, hidden)}
    parts |= dict.fromkeys(("self_attn.k_proj", "self_attn.v_proj"), (heads, hidden))
    parts |= dict.fromkeys(("mlp.gate_proj", "mlp.up_proj"), (inner, hidden))
    # Only the last map is looked at: the others may be the same in all layers.
    shared = {name: random(*size) for name, size in parts.items()}
    norms = ("input_layernorm", "post_attention_layernorm")
    index: dict[str, str] = {}

    def save(name: str, tensors: dict[str, Tensor]) -> None:
        save_file(tensors, folder / name, metadata={"format": "pt"})
        index.update(dict.fromkeys(tensors, name))

    outside = {"model.embed_tokens.weight": random(config.vocab_size, hidden)}
    outside["model.norm.weight"] = torch.ones(hidden, dtype=dtype)
    if not config.tie_word_embeddings:
        outside["lm_head.weight"] = random(config.vocab_size, hidden)
    save("model-outside.safetensors", outside)
    del outside
    for layer in range(layers):
        tensors = {f"model.layers.{layer}.{name}.weight": part for name, part in shared.items()}
        for name in norms:
            tensors[f"model.layers.{layer}.{name}.weight"] = torch.ones(hidden, dtype=dtype)
        tensors[f"model.layers.{layer}.mlp.down_proj.weight"] = random(hidden, inner) * falling
        save(f"model-{layer:02}.safetensors", tensors)
    text = json.dumps({"metadata": {}, "weight_map": index})
    (folder / "model.safetensors.index.json").write_text(text)
    words = ["<unk>", *vocabulary(size=min(30_000, config.vocab_size - 1)).words]
    known = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, "<unk>"))
    known.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=known, unk_token="<unk>").save_pretrained(folder)
    return folder


def _settings(options: argparse.Namespace) -> ConceptSettings:
    return ConceptSettings(
        components=options.components,
        words=options.words,
        vocabulary=vocabulary(size=options.vocabulary),
        cache=False,
    )


def _compare(options: argparse.Namespace) -> None:
    settings, weights = _settings(options), Weights(options.model)
    layers = options.layers or weights.sizes.layers
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    start = time.process_time()
    rows = word_rows(tokenizer, weights.output_embeddings(), settings.chosen())
    rows.lengths  # noqa: B018 - counted here, as both ways use it
    prepared = time.process_time() - start
    ours = theirs = 0.0
    same = near = wrong = 0
    largest = 0.0
    for layer in range(layers):
        start = time.process_time()
        found = layer_components(weights, rows, settings, [layer])[layer]
        mine = [found.ends.both(rows.words, k, options.words) for k in range(options.components)]
        ours += time.process_time() - start
        start = time.process_time()
        values = value_vectors(weights, layer)
        expected = reference(values, rows, options.components, options.words)
        theirs += time.process_time() - start
        for left, (words, limit) in zip(mine, expected, strict=True):
            cosines = dict(left)
            same += len(cosines.keys() & set(words))
            for word in cosines.keys() ^ set(words):
                margin = abs(abs(cosines.get(word, limit)) - limit)
                largest = max(largest, margin)
                near += margin < ROUNDING
                wrong += margin >= ROUNDING
        print(f"layer {layer:2}: twinlens {ours:7.2f} s, reference {theirs:7.2f} s", flush=True)
    print(
        f"{layers} layers, {options.components} components, {options.words} of "
        f"{len(rows.words):,} words, {torch.get_num_threads()} thread(s); CPU seconds"
    )
    print(f"word vectors, the same for both: {prepared:.2f} s")
    print(f"twinlens: {ours:.2f} s; full decomposition and sort: {theirs:.2f} s")
    print(f"ratio: {theirs / ours:.1f}")
    print(
        f"{same:,} words the same, {near} differ within rounding, {wrong} otherwise; "
        f"largest margin {largest:.1e}"
    )


def reference(
    values: Tensor, rows: WordRows, count: int, words: int
) -> list[tuple[list[str], float]]:
    """All components by a full decomposition, all words by a full sort; the leading ones of both.

    Returns the words of each component, and the magnitude of the last one's cosine.
    """
    centred = values.double() - values.double().mean(dim=0)
    directions = torch.linalg.svd(centred, full_matrices=False).Vh.float()
    cosines = (directions @ rows.rows.T / rows.lengths).abs()
    values, places = cosines.sort(dim=1, descending=True)
    found = []
    for k in range(count):
        said = [rows.words[place] for place in places[k, :words].tolist()]
        found.append((said, float(values[k, words - 1])))
    return found


def _peak(options: argparse.Namespace) -> dict[str, float]:
    settings = _settings(options)
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    weights = Weights(options.model)
    before = psutil.Process().memory_info().rss
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    start = time.process_time()
    rows = word_rows(tokenizer, weights.output_embeddings(), settings.chosen())
    layer_components(weights, rows, settings, range(options.layers or 1))
    spent = time.process_time() - start
    status = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    sizes = weights.sizes
    embeddings = weights.output_embeddings()
    return {
        "seconds": spent,
        "layers": options.layers or 1,
        "before": before / 1e6,
        "peak": peak / 1e6,
        "embeddings": embeddings.nbytes / 1e6,
        "words": options.vocabulary * sizes.hidden * 4 / 1e6,
        "layer": sizes.hidden * sizes.intermediate * embeddings.element_size() / 1e6,
        "covariance": sizes.hidden**2 * 8 / 1e6,
        "files": sum(file.stat().st_size for file in options.model.glob("*.safetensors")) / 1e6,
    }


def _tell_peak(found: dict[str, float]) -> None:
    print(
        f"{found['layers']} layers in {found['seconds']:.0f} CPU s from files of "
        f"{found['files']:.0f} MB"
    )
    print(
        f"peak memory: {found['peak'] - found['before']:.0f} MB above interpreter and libraries "
        f"({found['before']:.0f} MB)"
    )
    print(
        f"  for comparison: output embeddings {found['embeddings']:.0f} MB, word vectors "
        f"{found['words']:.0f} MB, value vectors of one layer {found['layer']:.0f} MB, their "
        f"covariance {found['covariance']:.0f} MB"
    )


if __name__ == "__main__":
    main()
