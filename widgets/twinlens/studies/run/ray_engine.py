"""Studies on a Ray cluster: workers that each hold the pair, and one process that writes.

Ray Data carries batches of prompts to a pool of actors and their tables back. Each actor loads
the pair once, from where it came from. The process that called `study` writes every prompt as it
arrives, so that nothing but this process touches the folder and workers need no common disk.

What happens when workers are lost, and why no row is lost or written twice: Ray Data starts an
actor that died again and gives it its batch again, without end, and hands a batch's table to the
writer once, however often it was computed. A batch that comes again is worked on row by row, and
a row on which `ATTEMPTS` workers died (too little memory, as a rule) is set aside. When the
writing process dies, Ray ends its workers; the same call then works on whatever is not in the
folder.

The cluster is the one this process is connected to, else the one that Ray finds (``RAY_ADDRESS``,
or one started on this machine), else a new one on this machine, which ends with the study. The
prompts wait as text in Ray's object store; the models' results do not stay in it.
"""

from __future__ import annotations

import logging
import os
import pickle
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from twinlens.contract.manifest import PairInfo
from twinlens.errors import StudyError, TwinlensError
from twinlens.studies.data.rows import Problem, StudyRow
from twinlens.studies.data.store import SCHEMA
from twinlens.studies.run.work import CaseResult, Engine, Job, Say, Work

if TYPE_CHECKING:
    from twinlens.compute.pair import Pair

#: So many workers may die on a row.
ATTEMPTS = 3
#: In place of the number of a row: the worker itself failed.
_FAILED = 0
_SENT = SCHEMA.append(pa.field("problem", pa.string()))


def opener(pair: Pair, job: Job) -> Callable[[], Work]:
    """How a worker gets ready for a job.

    This process lets go of the pair's weights, which a worker beside it may need the room for.

    Raises
    ------
    ModelLoadError
        If a worker could not load the pair because the folder it came from is gone.
    """
    packed, expected = pickle.dumps(pair), pair.info
    pair.release()

    def open_work() -> Work:
        loaded: Pair = pickle.loads(packed)
        _same_models(loaded.info, expected)
        return job.work(loaded)

    return open_work


def on_ray(
    open_work: Callable[[], Work],
    *,
    workers: int | None = None,
    gpu: bool = False,
) -> Engine:
    """The engine that works on a Ray cluster.

    Parameters
    ----------
    open_work : callable
        Called once by every worker; it travels to them, pickled.
    workers : int, optional
        By default one for each GPU, or for each machine where none is used.
    gpu : bool
        Whether a worker needs a GPU of its own.

    Raises
    ------
    StudyError
        If Ray is not installed, cannot be reached, has no GPU where one is needed, or its workers
        fail.
    """
    try:
        import ray.data  # noqa: F401
    except ImportError as error:
        raise StudyError(
            "engine='ray' needs Ray, which is not installed: pip install 'twinlens[ray]'"
        ) from error

    def outcomes(batches: Iterator[list[StudyRow]], say: Say) -> Iterator[CaseResult]:
        sent = [
            {"batch": place, "rows": pickle.dumps(batch)} for place, batch in enumerate(batches)
        ]
        if not sent:
            return
        say("starting workers")
        with _cluster(), _quiet():
            yield from _through(sent, open_work, _resources(workers, gpu))

    return outcomes


class Attempts:
    """Counts what was begun and not ended, for workers that may die in between."""

    def __init__(self) -> None:
        self._begun: Counter[str] = Counter()

    def begin(self, what: str) -> int:
        """How often it was begun, this time included, since it last came to an end."""
        self._begun[what] += 1
        return self._begun[what]

    def end(self, what: str) -> None:
        """Count it from zero again."""
        self._begun.pop(what, None)


class Worker:
    """One actor of the pool.

    Parameters
    ----------
    workers : int
        Size of the pool.
    """

    def __init__(self, open_work: Callable[[], Work], attempts: Any, workers: int) -> None:
        self._attempts = attempts
        self._failure = ""
        if self._begin("opening") > ATTEMPTS * workers:
            self._failure = (
                "workers die while they load the pair, which may be too large for them: ask for "
                'fewer workers=, or load it with memory="sequential"'
            )
            return
        try:
            self._work = open_work()
        except TwinlensError as error:
            # Raised here it would only be reported as the death of an actor.
            self._failure = str(error)
        self._end("opening")

    def __call__(self, batch: dict[str, Sequence[Any]]) -> pa.Table:
        """Work on a batch; its numbers do not depend on what happened before."""
        if self._failure:
            return _sendable(Problem(_FAILED, self._failure))
        outcomes = (
            outcome
            for place, packed in zip(batch["batch"], batch["rows"], strict=True)
            for outcome in self._outcomes(f"batch {place}", pickle.loads(packed))
        )
        try:
            return pa.concat_tables([_sendable(outcome) for outcome in outcomes])
        except Exception as error:
            # Ray's own report of it is a page long.
            return _sendable(Problem(_FAILED, _failed(error)))

    def _outcomes(self, name: str, rows: list[StudyRow]) -> Iterator[CaseResult]:
        if self._begin(name) == 1:
            yield from self._work(rows, _silent)
        else:
            for row in rows:
                yield from self._alone(row)
        self._end(name)

    def _alone(self, row: StudyRow) -> Iterator[CaseResult]:
        if self._begin(f"row {row.number}") >= ATTEMPTS:
            yield Problem(row.number, f"{ATTEMPTS} workers died on it: it may need more memory")
        else:
            yield from self._work([row], _silent)
        self._end(f"row {row.number}")

    def _begin(self, what: str) -> int:
        import ray

        return int(ray.get(self._attempts.begin.remote(what)))

    def _end(self, what: str) -> None:
        self._attempts.end.remote(what)


def _silent(what: str) -> None:
    """The writer says how far everything is."""


def _through(
    sent: list[dict[str, Any]], open_work: Callable[[], Work], resources: dict[str, Any]
) -> Iterator[CaseResult]:
    import ray

    workers = min(resources.pop("workers"), len(sent))
    attempts = ray.remote(Attempts).options(num_cpus=0, max_restarts=-1, max_task_retries=-1)
    dataset = ray.data.from_items(sent, override_num_blocks=len(sent)).map_batches(
        Worker,
        fn_constructor_args=(open_work, attempts.remote(), workers),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=workers),
        **resources,
    )
    tables = iter(dataset.iter_batches(batch_size=None, batch_format="pyarrow"))
    try:
        for table in tables:
            for number in table.column("number").unique().to_pylist():
                yield _received(table.filter(pc.equal(table.column("number"), number)))
    except ray.exceptions.RayError as error:
        raise StudyError(_failed(error)) from error
    finally:
        tables.close()


def _resources(workers: int | None, gpu: bool) -> dict[str, Any]:
    """How many workers there are, and what Ray reserves for each."""
    import ray

    has = ray.cluster_resources()
    if gpu:
        if not has.get("GPU"):
            raise StudyError("the Ray cluster has no GPU: load the pair on the CPU or add one")
        return {"workers": workers or int(has["GPU"]), "num_gpus": 1}
    # The head of a cluster often lends no CPU.
    lent = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]
    machines = [cpus for cpus in lent if cpus] or [1]
    workers = workers or len(machines)
    threads = min(min(machines), sum(machines) // workers)
    return {"workers": workers, "num_cpus": max(1, int(threads))}


@contextmanager
def _cluster() -> Iterator[None]:
    """A connection to Ray; one that is made here ends here."""
    import ray

    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        raise StudyError(f"Ray cannot be started or reached: {_reason(error)}") from error
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _quiet() -> Iterator[None]:
    """No bars and no plans of Ray's own beside the progress of the study."""
    from ray.data import DataContext

    settings, log = DataContext.get_current(), logging.getLogger("ray.data")
    before = settings.enable_progress_bars, settings.print_on_execution_start, log.level
    settings.enable_progress_bars = settings.print_on_execution_start = False
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        settings.enable_progress_bars, settings.print_on_execution_start = before[:2]
        log.setLevel(before[2])


def _same_models(loaded: PairInfo, expected: PairInfo) -> None:
    if loaded != expected:
        raise StudyError(
            f"a worker loaded {loaded.base.name} {loaded.base.revision} and {loaded.tuned.name} "
            f"{loaded.tuned.revision}, but the study is of {expected.base.revision} and "
            f"{expected.tuned.revision}: give every machine the same files"
        )


def _sendable(outcome: CaseResult) -> pa.Table:
    if isinstance(outcome, Problem):
        record = {"number": outcome.number, "problem": outcome.message}
        return pa.Table.from_pylist([record], schema=_SENT)
    return outcome.append_column(_SENT.field("problem"), pa.nulls(len(outcome), pa.string()))


def _received(table: pa.Table) -> CaseResult:
    """The outcome of one row."""
    message = table.column("problem")[0].as_py()
    if message is None:
        return table.drop_columns(["problem"])
    number = table.column("number")[0].as_py()
    if number == _FAILED:
        raise StudyError(message)
    return Problem(number, message)


def _failed(error: Exception) -> str:
    return (
        f"a worker failed ({_reason(error)}): what is finished is kept, and engine='local' shows "
        "where it fails"
    )


def _reason(error: Exception) -> str:
    """What was raised, in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {(lines or [''])[-1][:300]}"
