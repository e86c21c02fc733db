"""What a page and a recording of a 135M pair weigh, and what it takes to write them.

    python -m tests.benchmarks.kept              # a page, then a recording, by kinds of blocks
    python -m tests.benchmarks.kept --what page

A prompt of 64 tokens, an answer of 32 that both models read, every head of both. CPU seconds of
writing, from a trace that was just made. Bytes of a kind of blocks as they are compressed: each by
itself in a recording, all of a kind together in a page, which holds them as text.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import json
import os
import re
import struct
import tempfile
import time
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from transformers import AutoTokenizer
from twinlens.compute.live.live import LiveTrace, trace_pair
from twinlens.compute.pair import load_pair
from twinlens.contract import lookup
from twinlens.contract.wire import Value
from twinlens.pages.page import to_html
from twinlens.support.progress import Report
from twinlens.traces import recording

from tests.benchmarks.saliency import line
from tests.support.real_pair import smollm2_pair_folders

_README = Path(__file__).parents[2] / "README.md"


class Timed:
    """Seconds that a trace's blocks take, by kind."""

    def __init__(self, trace: LiveTrace) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.counts: dict[str, int] = defaultdict(int)
        self._inside = 0
        self._block: Callable[..., Value] = trace.block
        trace.block = self.block  # type: ignore[method-assign]

    def block(self, key: str, report: Report | None = None) -> Value:
        start = time.process_time()
        self._inside += 1
        try:
            return self._block(key, report)
        finally:
            self._inside -= 1
            if not self._inside:
                self.seconds[kind(key)] += time.process_time() - start
                self.counts[kind(key)] += 1


def kind(key: str) -> str:
    """The pattern of a key."""
    found = lookup.find(key)
    return found[0].pattern if found else key


def traced() -> LiveTrace:
    """A trace of 64 and 32 tokens."""
    folders = smollm2_pair_folders()
    tokenizer = AutoTokenizer.from_pretrained(folders[0])
    ids = tokenizer(_README.read_text(encoding="utf-8"))["input_ids"][:64]
    pair = load_pair(*folders)
    prompt = tokenizer.decode(ids)
    return trace_pair(pair, prompt, response="shared", max_new_tokens=32, template=False)


def table(timed: Timed, sizes: dict[str, int], spent: float) -> None:
    line("kind", "blocks", "CPU s", "kB")
    line(*["---"] * 4)
    rest = spent - sum(timed.seconds.values())
    for name in sorted(sizes.keys() | timed.seconds.keys(), key=lambda n: -sizes.get(n, 0)):
        seconds = timed.seconds.get(name, 0.0)
        line(name, timed.counts.get(name, 0), f"{seconds:.2f}", f"{sizes.get(name, 0) / 1e3:.0f}")
    line("packing and the rest", "", f"{rest:.2f}", "")


def page(trace: LiveTrace, target: Path) -> None:
    timed = Timed(trace)
    start = time.process_time()
    report = to_html(trace, target)
    spent = time.process_time() - start
    print(
        f"\npage: {report.size / 1e6:.2f} MB, {spent:.1f} CPU s, {len(report.included)} blocks, "
        f"{len(report.missing)} left out\n"
    )
    table(timed, sizes_in(target), spent)
    missing: dict[str, int] = defaultdict(int)
    for key in report.missing:
        missing[kind(key)] += 1
    print("\nleft out:", dict(missing))


def sizes_in(target: Path) -> dict[str, int]:
    """Compressed bytes of the parts of a page, and of its blocks by kind."""
    text = target.read_text(encoding="utf-8")
    packed = {
        name: found[1]
        for name in ("blocks", "bundle")
        if (found := re.search(rf'id="twinlens-{name}">([^<]*)<', text))
    }
    sizes = {f"all {name}, as text": len(found) for name, found in packed.items()}
    text = packed["blocks"].translate(str.maketrans(",.:", "<>&"))
    data = gzip.decompress(base64.b85decode(text))
    (head,) = struct.unpack("<I", data[:4])
    sizes["index"] = len(zlib.compress(data[4 : 4 + head], 9))
    bodies: dict[str, bytes] = defaultdict(bytes)
    at = 4 + head
    for key, entry in json.loads(data[4:at]).items():
        bodies[kind(key)] += data[at : at + entry["length"]]
        at += entry["length"]
    return sizes | {name: len(zlib.compress(body, 9)) for name, body in bodies.items()}


def record(trace: LiveTrace, target: Path) -> None:
    timed = Timed(trace)
    start = time.process_time()
    recording.write(trace, target)
    spent = time.process_time() - start
    sizes: dict[str, int] = defaultdict(int)
    with zipfile.ZipFile(target) as archive:
        kept = recording.read(target)
        for key, entry in kept._entries.items():
            sizes[kind(key)] += archive.getinfo(entry["entry"]).compress_size
        sizes["manifest"] = archive.getinfo("manifest.json").compress_size
    size = target.stat().st_size
    sizes["directory of the file"] = size - sum(sizes.values())
    print(f"\nrecording: {size / 1e6:.2f} MB, {spent:.1f} CPU s, {len(list(kept.keys()))} blocks\n")
    table(timed, sizes, spent)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--what", choices=["page", "recording", "both"], default="both")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        for name, write in (("page", page), ("recording", record)):
            if options.what in (name, "both"):
                start = time.process_time()
                trace = traced()
                lengths = trace.manifest.prompt_length, trace.manifest.answer_length("tuned")
                print(f"{lengths} tokens, traced in {time.process_time() - start:.1f} CPU s")
                write(trace, Path(folder) / f"kept.{'html' if name == 'page' else 'twl'}")


if __name__ == "__main__":
    main()
