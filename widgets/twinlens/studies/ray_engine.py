"""Studies on a Ray cluster: workers that each hold the pair, and one process that writes.

Ray Data carries batches of prompts to a pool of actors and their tables back. Each actor loads
the pair once, from where it came from. The process that called `study` writes every prompt as it
arrives, so that nothing but this process touches the folder and workers need no common disk.

What Ray does when workers are lost, and why no row is lost or written twice: an actor that dies is
started again (`max_restarts`) and its batch is given out again (`max_task_retries`); Ray hands a
batch's table to the writer once, however often it was computed. When the writing process dies,
Ray ends its workers; the same call then works on whatever is not in the folder.

The cluster is the one this process is connected to, else the one that Ray finds (``RAY_ADDRESS``,
or one started on this machine), else a new one on this machine, which ends with the study. The
prompts wait as text in Ray's object store; the models' results do not stay in it.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from twinlens.errors import StudyError, TwinlensError
from twinlens.schema import PairInfo
from twinlens.studies.data import Problem, Row
from twinlens.studies.store import SCHEMA
from twinlens.studies.work import Job, Outcome, Work
from twinlens.trace import Report

if TYPE_CHECKING:
    from twinlens.compute.pair import Pair
    from twinlens.studies.run import Engine

#: A batch on which so many workers died, one after another, stops the study.
ATTEMPTS = 4
#: In place of the number of a row: the worker itself failed.
_FAILED = 0
_SENT = SCHEMA.append(pa.field("problem", pa.string()))


def opener(pair: Pair, job: Job) -> Callable[[], Work]:
    """How a worker gets ready for a job.

    Raises
    ------
    ModelLoadError
        If a worker could not load the pair because the folder it came from is gone.
    """
    packed, expected = pickle.dumps(pair), pair.info

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
    report: Report | None = None,
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
    report : callable, optional
        Told that workers are being started.

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

    def outcomes(batches: Iterator[list[Row]]) -> Iterator[Outcome]:
        sent = [{"rows": _pack(batch)} for batch in batches]
        if not sent:
            return
        if report:
            report(0, 0, "starting workers")
        with _cluster(), _quiet():
            yield from _through(sent, open_work, _resources(workers, gpu))

    return outcomes


class Worker:
    """One actor of the pool."""

    def __init__(self, open_work: Callable[[], Work]) -> None:
        self._failure = ""
        try:
            self._work = open_work()
        except TwinlensError as error:
            # Raised here it would only be reported as the death of an actor.
            self._failure = str(error)

    def __call__(self, batch: dict[str, Sequence[str]]) -> pa.Table:
        """Work on a batch."""
        if self._failure:
            return _sendable(Problem(_FAILED, self._failure))
        rows = [row for packed in batch["rows"] for row in _unpack(packed)]
        return pa.concat_tables([_sendable(outcome) for outcome in self._work(rows)])


def _through(
    sent: list[dict[str, str]], open_work: Callable[[], Work], resources: dict[str, Any]
) -> Iterator[Outcome]:
    import ray

    workers = resources.pop("workers")
    dataset = ray.data.from_items(sent, override_num_blocks=len(sent)).map_batches(
        Worker,
        fn_constructor_args=(open_work,),
        batch_size=None,
        compute=ray.data.ActorPoolStrategy(size=min(workers, len(sent))),
        max_restarts=-1,
        max_task_retries=ATTEMPTS - 1,
        **resources,
    )
    tables = iter(dataset.iter_batches(batch_size=None, batch_format="pyarrow"))
    try:
        for table in tables:
            for number in table.column("number").unique().to_pylist():
                yield _received(table.filter(pc.equal(table.column("number"), number)))
    except ray.exceptions.RayError as error:
        raise StudyError(f"a worker failed ({_reason(error)}): what is finished is kept") from error
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
    machines = [node["Resources"].get("CPU", 1) for node in ray.nodes() if node["Alive"]]
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


def _same_models(found: PairInfo, expected: PairInfo) -> None:
    if found != expected:
        raise StudyError(
            f"a worker loaded {found.base.name} {found.base.revision} and {found.tuned.name} "
            f"{found.tuned.revision}, but the study is of {expected.base.revision} and "
            f"{expected.tuned.revision}: give every machine the same files"
        )


def _pack(rows: Sequence[Row]) -> str:
    return json.dumps([dataclasses.asdict(row) for row in rows])


def _unpack(packed: str) -> list[Row]:
    def row(record: dict[str, Any]) -> Row:
        for name in ("instruction", "fragments", "context"):
            record[name] = tuple((start, end) for start, end in record[name])
        return Row(**record)

    return [row(record) for record in json.loads(packed)]


def _sendable(outcome: Outcome) -> pa.Table:
    if isinstance(outcome, Problem):
        record = {"number": outcome.number, "problem": outcome.message}
        return pa.Table.from_pylist([record], schema=_SENT)
    return outcome.append_column(_SENT.field("problem"), pa.nulls(len(outcome), pa.string()))


def _received(table: pa.Table) -> Outcome:
    """The outcome of one row."""
    message = table.column("problem")[0].as_py()
    if message is None:
        return table.drop_columns(["problem"])
    number = table.column("number")[0].as_py()
    if number == _FAILED:
        raise StudyError(message)
    return Problem(number, message)


def _reason(error: Exception) -> str:
    """The first cause in one line."""
    cause = getattr(error, "cause", None) or error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return (lines or [type(cause).__name__])[-1][:300]
