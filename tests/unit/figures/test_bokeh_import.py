from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

SCRIPT = """
    from concurrent.futures import ThreadPoolExecutor
    from threading import Barrier
    from twinlens.pages.values import page_value
    from tests.support.made_up import MadeUpTrace

    trace, together = MadeUpTrace(), Barrier(10)

    def ask(key):
        together.wait()
        return len(page_value(trace, key))

    keys = ["asset/bokehjs", "chart/handover/light"] * 5
    with ThreadPoolExecutor(10) as pool:
        assert all(pool.map(ask, keys))
"""


@pytest.mark.slow
def test_threads_that_need_bokeh_at_once_do_not_lock_each_other_out():
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
