"""A study that is killed while it writes.

python -m tests.unit.studies.run.killed_study FOLDER PROMPTS DIE_AFTER [ray]
"""

import os
import signal
import sys

from twinlens.studies.data import store
from twinlens.studies.run import study as run

from tests.unit.studies.planted import METHOD, PAIR, open_planted, planted, prompts


def main(folder: str, count: int, die_after: int, engine: str = "local") -> None:
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
    work_on = planted
    if engine == "ray":
        from twinlens.studies.run.ray_engine import on_ray

        work_on = on_ray(open_planted, workers=1)
    run.fill(target, iter(prompts(count)), work_on, batch_size=2, total=count)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:])
