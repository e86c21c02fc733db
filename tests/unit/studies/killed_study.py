"""A study that is killed while it writes: `python killed_study.py FOLDER PROMPTS DIE_AFTER`."""

import os
import signal
import sys

from twinlens.studies import run, store
from twinlens.studies.data import Row

from tests.unit.studies.planted import METHOD, PAIR, PlantedTrace


def main(folder: str, prompts: int, die_after: int) -> None:
    """Run; die without warning in the middle of a write once so many prompts are stored."""
    store.MERGE = 8
    target = store.Store.create(folder, PAIR, [METHOD], {"response": "own"})
    stored = 0
    replace = os.replace

    def dying(source: object, goal: object) -> None:
        nonlocal stored
        stored += 1
        if stored == die_after:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, goal)

    os.replace = dying if die_after else replace
    rows = [Row(i + 1, f"p{i}", f"prompt {i}", ((0, 6),), ((0, 6),)) for i in range(prompts)]
    run.fill(target, iter(rows), PlantedTrace, total=prompts)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
