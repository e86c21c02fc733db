"""Studies of the embedded pair, here and in another checkout: CPU seconds, alternating.

    python -m tests.benchmarks.study_against /path/to/other/checkout             # 256 prompts
    python -m tests.benchmarks.study_against OTHER --prompts 48 --method occlusion

Each run is a process of its own on one thread, so that what one loads or keeps does not help the
other; only the study counts, not the loading. The other checkout needs nothing but its package.
Where it is of before exact effects of segments were measured (``git worktree add OTHER
56f0ba8``), ``faster`` sets all that a study measures today against less, and ``gradients_alone``
the same measures.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support.places import ROOT

RUN = """
import json, sys, tempfile, time
import torch
torch.set_num_threads(1)
from twinlens.compute.pair import demo_pair
from twinlens.compute.saliency import batch
from twinlens.studies import study
rows, options = json.load(open(sys.argv[1]))
pair = demo_pair()
spent = 0.0
hidden = getattr(batch, "_hidden", None)
def timed(*given):
    global spent
    start = time.process_time()
    found = hidden(*given)
    spent += time.process_time() - start
    return found
if hidden:
    batch._hidden = timed
with tempfile.TemporaryDirectory() as folder:
    study(pair, rows[:2], folder + "/warm", **options)
    spent, start = 0.0, time.process_time()
    store = study(pair, rows, folder + "/study", **options)
    whole = time.process_time() - start
    print(json.dumps([whole, whole - spent, len(store.finished()), len(store.problems)]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("other", type=Path)
    parser.add_argument("--prompts", type=int, default=256)
    parser.add_argument("--method", action="append", help="beside the paper's")
    parser.add_argument("--response", default="own")
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    methods = ["gradient_x_input", *(options.method or [])]
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / "data.json"
        settings = {"methods": methods, "template": True, "max_new_tokens": 32}
        settings["response"] = options.response
        data.write_text(json.dumps([rows(options.prompts), settings]), "utf-8")
        rounds = [
            (seconds(options.other, data), seconds(ROOT, data)) for _ in range(options.rounds)
        ]
    result = {
        "prompts": options.prompts,
        "methods": methods,
        "response": options.response,
        "cpu_seconds": {"other": [a for a, _ in rounds], "here": [b for _, b in rounds]},
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


def seconds(checkout: Path, data: Path) -> tuple[float, float]:
    """CPU seconds of a study by the package of a checkout: all of it, without hidden segments."""
    paths = {"PYTHONPATH": str(checkout / "widgets"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(data)],
        env=os.environ | paths,
        capture_output=True,
        text=True,
        check=True,
    )
    whole, rest, finished, problems = json.loads(done.stdout.splitlines()[-1])
    # A prompt at which a model stops at once is no case.
    assert finished + problems == len(json.loads(data.read_text("utf-8"))[0])
    return round(whole, 2), round(rest, 2)


if __name__ == "__main__":
    main()
