"""Word pairs: time and memory against one neuron at a time.

    python -m tests.benchmarks.word_pairs                 # the size of SmolLM2-135M
    python -m tests.benchmarks.word_pairs --layers 2      # a reduced run
    python -m tests.benchmarks.word_pairs --reference 5   # the slow way on 5 of the layers, scaled
    python -m tests.benchmarks.word_pairs --model FOLDER  # weights and tokenizer of a model

Without a model the weights are random, of the same shape, and words have random vectors. Both
ways run in this process, one after the other, and are timed in CPU seconds, so that other work on
the machine counts little; use one thread (OMP_NUM_THREADS=1). The peak of memory is taken
in a process of its own (Linux only), as the growth after the word vectors are there.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    PreTrainedTokenizerFast,
)
from twinlens.compute.heads import word_pair_search as subject
from twinlens.compute.models.weights import Weights
from twinlens.compute.words import vectors as word_vectors
from twinlens.weights.vocabulary import vocabulary
from twinlens.weights.word_pairs import LayerPairs, WordPairs

from tests.benchmarks import word_pairs_reference as reference
from tests.support.model_pairs import word_pairs

# Cosines this near to a threshold depend on the order in which float32 products are summed.
ROUNDING = 2e-6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="model folder; random weights by default")
    parser.add_argument("--layers", type=int, default=30)
    parser.add_argument("--reference", type=int, help="layers the slow way is timed on; all")
    parser.add_argument("--words", type=int, default=20_000)
    parser.add_argument("--top", type=int, default=100)
    parser.add_argument("--memory-only", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if options.model is None:
            options.model = _random_model(Path(scratch))
        if options.memory_only:
            print(json.dumps(_memory(options)))
            return
        command = [sys.executable, "-m", "tests.benchmarks.word_pairs", "--memory-only"]
        for name in ("model", "layers", "words", "top"):
            command += [f"--{name}", str(getattr(options, name))]
        peak = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        _compare(options, peak)


def _random_model(folder: Path) -> Path:
    """A model of SmolLM2-135M's shape, with a tokenizer that has one token per word."""
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=576,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        intermediate_size=1536,
        vocab_size=49_152,
        tie_word_embeddings=True,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    words = ["<unk>", *vocabulary(size=40_000).words]
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, "<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>").save_pretrained(folder)
    return folder


def _run(options: argparse.Namespace) -> tuple[WordPairs, dict[str, float]]:
    """The package's way, with the time each step takes."""
    spent: dict[str, float] = {}

    def timed(name, function):
        def wrapper(*inputs, **named):
            start = time.process_time()
            try:
                return function(*inputs, **named)
            finally:
                spent[name] = spent.get(name, 0.0) + time.process_time() - start

        return wrapper

    steps = {
        "prepare": "vocabulary and tokens",
        "mean_embeddings": "word vectors",
        "_pairs": "pairs",
    }
    kept = {name: getattr(subject, name) for name in steps}
    top = subject.Ranking.top
    allowed = word_vectors.Cooccurrence.allowed.func
    try:
        for name, title in steps.items():
            setattr(subject, name, timed(title, kept[name]))
        subject.Ranking.top = timed("activations and top words", top)
        word_vectors.Cooccurrence.allowed.func = timed("co-occurrence filter", allowed)
        start = time.process_time()
        found = word_pairs(
            options.model,
            AutoTokenizer.from_pretrained(options.model),
            vocabulary(size=options.words),
            settings=word_vectors.CooccurrenceSettings(top=options.top),
            layers=range(options.layers),
            cache=False,
        )
        total = time.process_time() - start
    finally:
        for name, function in kept.items():
            setattr(subject, name, function)
        subject.Ranking.top = top
        word_vectors.Cooccurrence.allowed.func = allowed
    # The filter is made when the first pair asks for it.
    spent["pairs"] -= spent["co-occurrence filter"]
    spent["the rest"] = total - sum(spent.values())
    return found, {"total": total, **spent}


def _memory(options: argparse.Namespace) -> dict[str, float]:
    weights = Weights(options.model)
    pieces = word_vectors.word_pieces(
        AutoTokenizer.from_pretrained(options.model), vocabulary(size=options.words).words
    )
    vectors = word_vectors.mean_embeddings(weights.input_embeddings(), pieces)
    before = psutil.Process().memory_info().rss
    del vectors, pieces, weights
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    _run(options)
    peak = next(
        int(line.split()[1]) * 1024
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmHWM")
    )
    return {"before": before / 1e6, "peak": peak / 1e6}


def _compare(options: argparse.Namespace, peak: dict[str, float]) -> None:
    found, spent = _run(options)
    weights = Weights(options.model)
    sizes, threads = weights.sizes, torch.get_num_threads()
    print(
        f"{options.layers} layers of {sizes.heads} heads ({sizes.kv_heads} key heads), "
        f"{len(found.words):,} words, K = {options.top}, {threads} thread(s)"
    )
    total = spent.pop("total")
    print(f"twinlens: {total:.1f} CPU s")
    for name, seconds in sorted(spent.items(), key=lambda item: -item[1]):
        print(f"  {name:28s} {seconds:7.2f} s  {seconds / total:5.1%}")
    print(
        f"peak memory: {peak['peak'] - peak['before']:.0f} MB above the word vectors "
        f"({peak['before']:.0f} MB with interpreter, torch, embeddings and word vectors)"
    )
    pieces = word_vectors.word_pieces(AutoTokenizer.from_pretrained(options.model), found.words)
    vectors = word_vectors.mean_embeddings(weights.input_embeddings(), pieces)
    start = time.process_time()
    units = word_vectors.all_but_the_top(vectors)[0]
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    limits = reference.thresholds(units, 1.96, 3000)
    reference.SPENT["thresholds"] = time.process_time() - start
    same, near, wrong, at_once = 0, 0, 0, 0.0
    sample = options.reference or options.layers
    for layer in np.linspace(0, options.layers - 1, sample).astype(int).tolist():
        read = weights.layer(layer)
        query, key, norm = (part.float().numpy() for part in (read.query, read.key, read.norm))
        expected = reference.layer_pairs(vectors, query, key, norm, units, limits, options.top)
        start = time.process_time()
        for head in range(sizes.heads):
            for rows in (query[head], key[head // (sizes.heads // sizes.kv_heads)]):
                (vectors @ (rows * norm).T).sum()
        at_once += time.process_time() - start
        for neuron, (_, pairs) in enumerate(neuron for head in expected for neuron in head):
            difference = _ids(found.layers[layer], neuron) ^ {pair[:2] for pair in pairs}
            same += len(pairs)
            for first, second in difference:
                margin = units[first] @ units[second] - max(limits[first], limits[second])
                near += abs(margin) < ROUNDING
                wrong += abs(margin) >= ROUNDING
    scale = options.layers / sample
    for name in ("activations", "top words", "pairs"):
        reference.SPENT[name] *= scale
    at_once *= scale
    seconds = reference.SPENT.total()
    print(f"one neuron at a time: {seconds:.1f} CPU s (timed on {sample} layers)")
    for name, part in reference.SPENT.most_common():
        print(f"  {name:28s} {part:7.2f} s  {part / seconds:5.1%}")
    print(f"ratio: {seconds / total:.1f}")
    seconds += at_once - reference.SPENT["activations"]
    print(f"ratio to the same with the activations of a head at once: {seconds / total:.1f}")
    print(
        f"{same:,} pairs, of which {near} differ within rounding of a threshold and {wrong} "
        "otherwise"
    )


def _ids(layer: LayerPairs, neuron: int) -> set[tuple[int, int]]:
    first, last = layer.offsets[neuron : neuron + 2]
    return set(zip(layer.query[first:last].tolist(), layer.key[first:last].tolist(), strict=True))


if __name__ == "__main__":
    main()
