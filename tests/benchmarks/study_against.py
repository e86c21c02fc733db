"""Studies of the embedded pair, here and in another checkout: how long they take, alternating.

    python -m tests.benchmarks.study_against /path/to/other/checkout             # 256 prompts
    python -m tests.benchmarks.study_against OTHER --prompts 48 --method occlusion
    python -m tests.benchmarks.study_against OTHER --threads 2

Each is a process of its own, so that what one loads or keeps does not help the other; they take
turns, 128 prompts at a time, so that other work on the machine slows both. On one thread CPU
seconds count, on more the time that passes. Only the study counts, not the loading. The other
checkout needs nothing but its package. Where it is of before exact effects of segments were
measured (``git worktree add OTHER 56f0ba8``), ``faster`` sets all that a study measures today
against less, and ``gradients_alone`` the same measures.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support.places import ROOT

PIECE = 128
RUN = """
import json, sys, tempfile, time
import torch
threads = int(sys.argv[2])
torch.set_num_threads(threads)
clock = time.process_time if threads == 1 else time.perf_counter
from twinlens.compute.pair import demo_pair
from twinlens.compute.saliency import batch
from twinlens.studies import study
rows, options = json.load(open(sys.argv[1]))
pair = demo_pair()
spent = 0.0
hidden = getattr(batch, "_hidden", None)
def timed(*given):
    global spent
    start = clock()
    found = hidden(*given)
    spent += clock() - start
    return found
if hidden:
    batch._hidden = timed
def run(rows):
    global spent
    with tempfile.TemporaryDirectory() as folder:
        spent, start = 0.0, clock()
        store = study(pair, rows, folder + "/study", **options)
        whole = clock() - start
        return [whole, whole - spent, len(store.finished()) + len(store.problems)]
run(rows[:2])
for line in sys.stdin:
    first, end = json.loads(line)
    print(json.dumps(run(rows[first:end])), flush=True)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("other", type=Path)
    parser.add_argument("--prompts", type=int, default=256)
    parser.add_argument("--method", action="append", help="beside the paper's")
    parser.add_argument("--response", default="own")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    methods = ["gradient_x_input", *(options.method or [])]
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / "data.json"
        settings = {"methods": methods, "template": True, "max_new_tokens": 32}
        settings["response"] = options.response
        data.write_text(json.dumps([rows(options.prompts), settings]), "utf-8")
        rounds = [
            taking_turns((options.other, ROOT), data, options.prompts, options.threads)
            for _ in range(options.rounds)
        ]
    result = {
        "prompts": options.prompts,
        "methods": methods,
        "response": options.response,
        "threads": options.threads,
        "seconds": {"other": [a for a, _ in rounds], "here": [b for _, b in rounds]},
        "faster": round(statistics.median(a[0] / b[0] for a, b in rounds), 2),
        "gradients_alone": round(statistics.median(a[1] / b[1] for a, b in rounds), 2),
    }
    print(json.dumps(result, indent=1))


def rows(count: int) -> list[dict[str, str]]:
    """Prompts of many lengths, with an instruction and an answer that may be given."""
    from twinlens.commands.main import demo_prompts

    prepared = [entry["prompt"] for entry in demo_prompts()]
    joined = [f"{one} {other}" for one in prepared for other in prepared]
    texts = list(dict.fromkeys([*prepared, *joined]))[:count]
    return [
        {"prompt": text, "instruction": text.split(".")[0], "answer": " the dog sleeps"}
        for text in texts
    ]


def taking_turns(
    checkouts: Sequence[Path], data: Path, prompts: int, threads: int
) -> list[tuple[float, float]]:
    """Seconds of a study by each checkout's package: all of it, without hidden segments."""
    running = [started(checkout, data, threads) for checkout in checkouts]
    spent = [[0.0, 0.0] for _ in checkouts]
    for first in range(0, prompts, PIECE):
        end = min(first + PIECE, prompts)
        for process, total in zip(running, spent, strict=True):
            print(json.dumps([first, end]), file=process.stdin, flush=True)
            whole, rest, done = json.loads(process.stdout.readline())
            # A prompt at which a model stops at once is no case.
            assert done == end - first
            total[0] += whole
            total[1] += rest
    for process in running:
        process.stdin.close()
        process.wait()
    return [(round(whole, 2), round(rest, 2)) for whole, rest in spent]


def started(checkout: Path, data: Path, threads: int) -> Any:
    """A process that answers the first and the last of some prompts with what it spent on them."""
    paths = {"PYTHONPATH": str(checkout / "widgets"), "OMP_NUM_THREADS": str(threads)}
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout"), subprocess.PIPE)
    command = [sys.executable, "-c", RUN, str(data), str(threads)]
    return subprocess.Popen(command, env=os.environ | paths, text=True, **pipes)


if __name__ == "__main__":
    main()
