"""Studies on a local Ray cluster: the same numbers, nothing lost, nothing twice."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from functools import partial
from types import SimpleNamespace

import numpy as np
import psutil
import pytest

pytest.importorskip("ray")

import ray
from click.testing import CliRunner
from twinlens.commands import study_commands as command
from twinlens.errors import Interrupted, ModelLoadError, StudyError
from twinlens.studies.data.store import Store
from twinlens.studies.run import ray_engine
from twinlens.studies.run import study as run
from twinlens.studies.run.ray_engine import ATTEMPTS, Attempts, Worker, on_ray, opener
from twinlens.studies.run.work import Job

from tests.support import tiny
from tests.support.places import LIGHT, ROOT
from tests.unit.studies.planted import METHOD, PAIR, open_planted, planted, prompts
from tests.unit.studies.run.workers import dies_on_one, dies_once, fails, refuses

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster():
    """Its address; this process is connected to it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_AUTH_MODE", "disabled")  # else Ray keeps a token in the home folder
        # Other work may keep the cores busy.
        patch.setenv("RAY_raylet_start_wait_time_s", "300")
        patch.setenv("RAY_agent_register_timeout_ms", "300000")
        patch.setenv("PYTHONPATH", os.pathsep.join(map(str, (LIGHT, ROOT / "widgets", ROOT))))
        found = ray.init(
            address="local",
            num_cpus=2,
            object_store_memory=80 * 2**20,
            include_dashboard=False,
            log_to_driver=False,
        )
        yield found.address_info["address"]
        ray.shutdown()


def create(folder):
    return Store.create(folder, PAIR, [METHOD], {"response": "own"})


def workers():
    """Processes of actors of the cluster that this process started."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # zombies too
            if "Worker" in "".join(process.cmdline()[:1]):
                found.append(process)
    return found


def same(first, second):
    for one, other in zip(first, second, strict=True):
        assert (one.id, one.side, one.answer) == (other.id, other.side, other.answer)
        assert (one.scored, one.instruction) == (other.scored, other.instruction)
        np.testing.assert_allclose(one.values, other.values, rtol=1e-4, atol=1e-6)


def test_two_workers_find_what_one_process_finds_though_one_is_killed(
    tmp_path, cluster, monkeypatch
):
    from twinlens.compute.pair import load_pair

    pair = load_pair(*tiny.save_pair(tmp_path))
    data = [f"{tiny.PROMPT} Write {number}." for number in range(12)]
    data[3] = "word " * 200
    options = {"max_new_tokens": 6, "batch_size": 2}
    grave = tmp_path / "grave"

    def dying_opener(*job):
        return partial(dies_once, opener(*job), grave)

    monkeypatch.setattr(ray_engine, "opener", dying_opener)
    far = run.study(pair, data, tmp_path / "ray", engine="ray", workers=2, **options)
    assert int(grave.read_text()) not in psutil.pids()
    assert not pair._resident  # the workers need the room
    here = run.study(pair, data, tmp_path / "local", **options)
    same(far, here)
    assert [case.id for case in far] == [str(i + 1) for i in range(12) if i != 3 for _ in "bt"]
    assert far.problems == here.problems
    assert [problem.number for problem in far.problems] == [4]
    files = list((tmp_path / "ray" / "rows").iterdir())
    assert len(files) == 11


def test_killed_in_the_middle_a_rerun_does_the_rest_and_nothing_twice(tmp_path, cluster):
    """Kill -9 of the process that writes; it was connected to a cluster that goes on."""
    command = [
        sys.executable,
        "-m",
        "tests.unit.studies.run.killed_study",
        str(tmp_path / "s"),
        "12",
    ]
    died = subprocess.run(
        [*command, "5", "ray"], cwd=ROOT, check=False, env={**os.environ, "RAY_ADDRESS": cluster}
    )
    assert died.returncode == -signal.SIGKILL
    store = create(tmp_path / "s")
    kept = store.finished()
    assert len(kept) == 4
    asked = []

    def engine(batches, say):
        def noted():
            for batch in batches:
                asked.extend(row.id for row in batch)
                yield batch

        return on_ray(open_planted, workers=1)(noted(), say)

    run.fill(store, iter(prompts(12)), engine, batch_size=2)
    assert sorted([*asked, *kept]) == sorted(f"p{i}" for i in range(12))
    whole = create(tmp_path / "whole")
    run.fill(whole, iter(prompts(12)), planted)
    same(store, whole)


def test_an_interrupt_keeps_what_is_finished_and_frees_the_workers(tmp_path, cluster):
    def report(done, total, what):
        if done == 2:
            raise Interrupted("stopped")

    store = create(tmp_path / "s")
    engine = on_ray(open_planted, workers=1)
    with pytest.raises(Interrupted):
        run.fill(store, iter(prompts(8)), engine, batch_size=2, report=report)
    assert len(store.finished()) == 2
    psutil.wait_procs(workers(), timeout=60)
    assert not workers()


def test_a_row_that_kills_workers_is_set_aside_alone(tmp_path, cluster):
    store = create(tmp_path / "s")
    run.fill(store, iter(prompts(8)), on_ray(dies_on_one, workers=1), batch_size=4)
    assert store.finished() == {f"p{i}" for i in range(8) if i != 5}
    assert [(one.number, one.message[:17]) for one in store.problems] == [(6, "3 workers died on")]


@pytest.mark.parametrize(
    ("open_work", "message"),
    [
        (refuses, "^a worker loaded other models$"),
        (fails, r"^a worker failed \(RuntimeError: out of memory\): what is finished is kept"),
    ],
)
def test_workers_that_cannot_work_stop_the_study_in_one_sentence(
    tmp_path, cluster, open_work, message
):
    store = create(tmp_path / "s")
    with pytest.raises(StudyError, match=message):
        run.fill(store, iter(prompts(2)), on_ray(open_work, workers=1))


def test_workers_that_die_while_they_load_the_pair_are_not_started_for_ever(monkeypatch):
    attempts = Attempts()
    monkeypatch.setattr(ray, "get", lambda value: value)
    handle = SimpleNamespace(
        begin=SimpleNamespace(remote=attempts.begin), end=SimpleNamespace(remote=attempts.end)
    )

    def died():
        raise KeyboardInterrupt

    def opened(open_work):
        return Worker(open_work, handle, 2)({"batch": [0], "rows": ["[]"]})

    for _ in range(2 * ATTEMPTS):
        with pytest.raises(KeyboardInterrupt):
            opened(died)
    assert "workers die while they load the pair" in opened(open_planted)["problem"][0].as_py()
    attempts.end("opening")
    with pytest.raises(KeyboardInterrupt):
        opened(died)


def test_without_a_gpu_in_the_cluster_a_pair_on_one_is_refused(tmp_path, cluster):
    store = create(tmp_path / "s")
    with pytest.raises(StudyError, match="has no GPU"):
        run.fill(store, iter(prompts(2)), on_ray(open_planted, gpu=True))


@pytest.mark.parametrize(
    ("cpus", "workers", "expected"),
    [
        ([2], None, (1, 2)),
        ([2], 2, (2, 1)),
        ([2], 5, (5, 1)),
        ([0, 16, 16], None, (2, 16)),
        ([16, 16], 8, (8, 4)),
        ([16, 4], 2, (2, 4)),
    ],
)
def test_workers_share_the_cores_of_their_machines(monkeypatch, cpus, workers, expected):
    nodes = [{"Alive": True, "Resources": {"CPU": float(n)} if n else {}} for n in cpus]
    nodes.append({"Alive": False, "Resources": {"CPU": 64.0}})
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": float(sum(cpus)), "GPU": 3.0})
    found = ray_engine._resources(workers, gpu=False)
    assert (found["workers"], found["num_cpus"]) == expected
    assert ray_engine._resources(None, gpu=True) == {"workers": 3, "num_gpus": 1}


def test_nothing_left_to_do_needs_no_cluster(tmp_path, monkeypatch):
    store = create(tmp_path / "s")
    run.fill(store, iter(prompts(2)), planted)
    monkeypatch.setattr(ray, "init", None)
    run.fill(store, iter(prompts(2)), on_ray(open_planted))


def test_without_ray_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setitem(sys.modules, "ray.data", None)
    with pytest.raises(StudyError, match=r"needs Ray.*pip install 'twinlens\[ray\]'"):
        on_ray(open_planted)


def test_the_command_takes_the_engine(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray.data", None)
    folders = [str(folder) for folder in tiny.save_pair(tmp_path)]
    (tmp_path / "data.jsonl").write_text('{"prompt": "Write."}')
    arguments = [*folders, str(tmp_path / "data.jsonl"), "--out", str(tmp_path / "s")]
    result = CliRunner().invoke(command.study, [*arguments, "--engine", "ray", "--workers", "2"])
    assert isinstance(result.exception, StudyError)
    assert "twinlens[ray]" in str(result.exception)
    assert not (tmp_path / "s").exists()


def test_a_pair_whose_folder_is_gone_cannot_be_sent(tmp_path):
    from twinlens.compute.pair import load_pair

    base, tuned = tiny.save_pair(tmp_path)
    pair = load_pair(base, tuned)
    tuned.rename(tmp_path / "elsewhere")
    with pytest.raises(ModelLoadError, match="'tuned' because the folder it came from is gone"):
        opener(pair, Job(("gradient_x_input",), "own", 4, False))


def test_workers_make_sure_that_they_have_the_models_of_the_study(tmp_path):
    from twinlens.compute.pair import load_pair

    folders = tiny.save_pair(tmp_path)
    pair = load_pair(*folders)
    open_work = opener(pair, Job(("gradient_x_input",), "own", 4, False))
    assert open_work()
    tiny.tuned_copy(tiny.model("llama"), seed=5).save_pretrained(folders[1])
    with pytest.raises(StudyError, match="give every machine the same files"):
        open_work()
