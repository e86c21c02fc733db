"""`study`: a data set of prompts through a pair, into a folder, ready for any analysis."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from twinlens.contract.words import Side
from twinlens.errors import StudyError
from twinlens.studies.data.rows import Problem, StudyRow, no_row, raw_records, read_rows, usable
from twinlens.studies.data.store import Store
from twinlens.studies.run.chain import Chain, run_chain
from twinlens.studies.run.work import CaseResult, Engine, Job, Response, Say, Work
from twinlens.support.calls import called_rightly
from twinlens.support.progress import Report

if TYPE_CHECKING:
    from twinlens.compute.pair import Pair
    from twinlens.compute.saliency.batch import Known

DEFAULT_METHOD = "gradient_x_input"
RESPONSES: tuple[Response, ...] = ("own", "base", "tuned", "given")
ENGINES = ("local", "ray")
#: Prompts that are worked on together; of narrow models, of which a prompt takes a tenth of a
#: second, so many more.
BATCH, NARROW_BATCH, NARROW = 32, 128, 512
#: With one model in memory at a time, each batch loads both.
SEQUENTIAL_BATCH = 256
#: Prompts are sorted by length within so many batches.
SORTED = 4


@overload
def study(pair: Pair, data: Any, out: str | Path, **options: Any) -> Store: ...


@overload
def study(pair: Sequence[Any], data: Any, out: str | Path, **options: Any) -> Chain: ...


@called_rightly  # type: ignore[misc]  # the overloads leave out the options, which are the same
def study(
    pair: Any,
    data: Any,
    out: str | Path,
    *,
    methods: str | Sequence[str] = (DEFAULT_METHOD,),
    response: Response = "own",
    max_new_tokens: int = 300,
    template: bool | str = False,
    columns: Mapping[str, str] | None = None,
    published_quirk: bool = True,
    batch_size: int | None = None,
    engine: str = "local",
    workers: int | None = None,
    load: Mapping[str, Any] | None = None,
    report: Report | None = None,
) -> Store | Chain:
    """Run a data set of prompts through a pair and keep what every answer rests on.

    Finished prompts are skipped, so an interrupted study is continued by the same call. The
    attributions are stored as they are: other levels, thresholds, norms, normalisations and
    answer cuts are computed from the folder, without the models.

    Parameters
    ----------
    pair : Pair or sequence of models
        From `load_pair`; or a chain of three or more checkpoints, such as base, supervised and
        preference-tuned, as `load_pair` takes them: each is studied against the first and against
        the one before it, with two of them in memory at most.
    data : path, list, `datasets` object or pandas frame
        See `twinlens.studies.data.rows`; bad rows are set aside and reported (`Store.problems`).
    out : path
        Folder of the study.
    methods : str or sequence of str
        Saliency methods to store, the first is the one analysed by default. What hiding the
        instruction, the context and the template costs each answer is stored beside them.
    response : {"own", "base", "tuned", "given"}
        Each model's own answer (the paper), one model's answer for both, or the data's.
    max_new_tokens : int
        Longest answer.
    template : bool or {"tuned", "base", "plain"}
        Whose chat template both models read prompts in, see `twinlens.explore`; the paper's do
        without.
    columns : mapping, optional
        Other names of columns.
    published_quirk : bool
        How annotations are widened, see `twinlens.studies.data.row_forms.widen`.
    batch_size : int, optional
        Prompts of similar length that are worked on together: 32, of models at most 512 wide 128,
        or 256 where the pair keeps one model in memory at a time, which is loaded anew for each
        batch. An interrupt or a crash loses at most one batch (of each worker).
    engine : {"local", "ray"}
        Where the work is done: in this process, or by the workers of a Ray cluster, see
        `twinlens.studies.run.ray_engine`.
    workers : int, optional
        Workers of the cluster, each with the pair in its memory; by default one for each GPU, or
        for each machine where the pair runs on the CPU.
    load : mapping, optional
        Of a chain: arguments of `load_pair`, such as ``{"dtype": "bfloat16"}``.
    report : callable, optional
        Called as ``report(done, total, what)`` while it works; `total` is 0 while unknown;
        may raise `Interrupted`. What is finished stays.

    Returns
    -------
    Store or Chain

    Raises
    ------
    StudyError
        If an option is unknown, the folder holds a study of other models or settings, Ray is not
        installed, or its workers fail.
    DataError
        If the data as a whole cannot be read, or no row can be used.

    Examples
    --------
    >>> import twinlens as tl
    >>> prompts = [{"prompt": "Make this sentence negative: The cat swims."}]
    >>> store = tl.study(tl.demo_pair(), prompts, "opposites", template=True, max_new_tokens=12)
    >>> store.to_frame()[["side", "answer"]].values.tolist()[1]
    ['tuned', 'The cat does not swim at the station.']
    """
    from twinlens.compute.saliency.methods import METHODS

    chosen: tuple[Any, ...] = tuple(methods) if isinstance(methods, list | tuple) else (methods,)
    check_options(chosen, response, engine, workers, batch_size, max_new_tokens, template)
    if not isinstance(out, str | os.PathLike) or (Path(out).exists() and not Path(out).is_dir()):
        raise StudyError(f"out={out!r} is no folder to write into: name one")
    template = {"tuned": True, "plain": False}.get(str(template), template)
    job = Job(chosen, response, max_new_tokens, template)

    def run_pair(
        pair: Pair,
        folder: str | Path,
        known: Callable[[str], Mapping[Side, Known]] | None,
        report: Report | None,
    ) -> Store:
        rows = usable(read_rows(data, columns=columns, published_quirk=published_quirk))
        if engine == "ray":
            from twinlens.studies.run.ray_engine import on_ray, opener

            work_on = on_ray(opener(pair, job), workers=workers, gpu=pair.accelerated)
        else:
            work_on = here(job.work(pair, known))
        store = Store.create(
            folder,
            pair.info,
            [METHODS[name].method for name in chosen],
            {
                "response": response,
                "max_new_tokens": max_new_tokens,
                "template": template,
                "published_quirk": published_quirk,
                "decoding": "greedy",
            },
        )
        size = batch_size or _together(pair)
        fill(store, rows, work_on, batch_size=size, total=_count(data), report=report)
        if not store.finished():
            raise no_row(store.problems)
        return store

    if isinstance(pair, list | tuple):
        if len(pair) < 3:
            raise StudyError("a chain has three models or more: give two of them to load_pair")
        data = list(data) if isinstance(data, Iterator) else data  # read once for each pair
        return run_chain(pair, out, run_pair, response=response, load=load, report=report)
    if not hasattr(pair, "info"):
        raise StudyError(f"{pair!r} is no pair of models: give what load_pair returns")
    return run_pair(pair, out, None, report)


def _together(pair: Pair) -> int:
    """Prompts of a batch, where nobody says how many."""
    if pair.memory == "sequential":
        return SEQUENTIAL_BATCH
    return NARROW_BATCH if pair.sizes.hidden <= NARROW else BATCH


def check_options(
    methods: Sequence[str],
    response: str,
    engine: str,
    workers: int | None,
    batch_size: int | None,
    max_new_tokens: int,
    template: bool | str = False,
) -> None:
    """Check what `study` is asked for, without models.

    Raises
    ------
    StudyError
        If an option is unknown or out of range.
    """
    from twinlens.compute.saliency.methods import METHODS

    if engine not in ENGINES:
        raise StudyError(f"there is no engine {engine!r}: use {' or '.join(ENGINES)}")
    if engine == "local" and workers is not None:
        raise StudyError("engine='local' works in this process: set workers= with engine='ray'")
    numbers = {"batch_size": batch_size, "workers": workers, "max_new_tokens": max_new_tokens}
    for name, value in numbers.items():
        if value is not None and not (isinstance(value, int) and value >= 1):
            raise StudyError(f"{name} must be at least 1, not {value!r}")
    if not isinstance(template, bool) and template not in ("tuned", "base", "plain"):
        raise StudyError(f"there is no template {template!r}: use tuned, base or plain")
    if response not in RESPONSES:
        raise StudyError(f"there is no response {response!r}: use {', '.join(RESPONSES)}")
    unknown = [str(name) for name in methods if not (isinstance(name, str) and name in METHODS)]
    if unknown or not methods:
        raise StudyError(
            f"there is no method {', '.join(unknown) or '(none given)'}: use {', '.join(METHODS)}"
        )


def here(work: Work) -> Engine:
    """The engine that works through one batch after another in this process."""

    def outcomes(batches: Iterator[list[StudyRow]], say: Say) -> Iterator[CaseResult]:
        for batch in batches:
            yield from work(batch, say)

    return outcomes


def fill(
    store: Store,
    rows: Iterator[StudyRow | Problem],
    engine: Engine,
    *,
    batch_size: int = BATCH,
    total: int = 0,
    report: Report | None = None,
) -> None:
    """Let an engine work on the rows that a study lacks, and store each as soon as it is there."""
    finished = store.finished()
    problems: list[Problem] = []
    started = time.monotonic()
    done = skipped = worked = 0

    def say(what: str) -> None:
        if report:
            left = total - done - (len(finished) - skipped)
            report(done, total, what + _left(left, worked, time.monotonic() - started))

    def missing() -> Iterator[StudyRow]:
        nonlocal done, skipped
        for row in rows:
            if isinstance(row, StudyRow) and row.id not in finished:
                yield row
                continue
            if isinstance(row, Problem):
                problems.append(row)
            else:
                skipped += 1
            done += 1
            say("prompts")

    try:
        for outcome in engine(batches(missing(), batch_size), say):
            if isinstance(outcome, Problem):
                problems.append(outcome)
            else:
                store.append(outcome)
            count = 1 if isinstance(outcome, Problem) else len(outcome.column("number").unique())
            done += count
            worked += count
            say("prompts")
    finally:
        store.write_problems(problems)


def batches(rows: Iterator[StudyRow], size: int) -> Iterator[list[StudyRow]]:
    """Batches of prompts of similar length, of which little is padded and few are held."""
    while chunk := list(islice(rows, size * SORTED)):
        chunk.sort(key=lambda row: len(row.prompt))
        yield from (chunk[start : start + size] for start in range(0, len(chunk), size))


def _count(data: Any) -> int:
    """Number of rows where that is cheap to know: files are read once more, iterators are not."""
    if isinstance(data, (str, Path)):
        return sum(1 for _ in raw_records(data))
    return len(data) if hasattr(data, "__len__") else 0


def _left(left: int, worked: int, seconds: float) -> str:
    if not (worked and left > 0):
        return ""
    minutes = seconds / worked * left / 60
    return f", {minutes:.0f} min left" if minutes >= 1 else ", less than 1 min left"
