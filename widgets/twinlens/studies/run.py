"""`study`: a data set of prompts through a pair, into a folder, ready for any analysis."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from twinlens.compare import SCORED_SEGMENTS
from twinlens.errors import Interrupted, StudyError, TwinlensError
from twinlens.schema import SIDES
from twinlens.studies.annotation import Span, span_tokens
from twinlens.studies.cases import Case
from twinlens.studies.data import Problem, Row, read_rows
from twinlens.studies.store import Store
from twinlens.trace import Report, Trace

if TYPE_CHECKING:
    from twinlens.compute.pair import Pair

#: ``own``: each model answers; ``base``, ``tuned``: both read that answer; ``given``: the data's.
Response: TypeAlias = Literal["own", "base", "tuned", "given"]
#: How one prompt becomes a trace; replaced in tests of everything around it.
Tracer: TypeAlias = Callable[[Row], Trace]

DEFAULT_METHOD = "gradient_x_input"
RESPONSES: tuple[Response, ...] = ("own", "base", "tuned", "given")


def study(
    pair: Pair,
    data: Any,
    out: str | Path,
    *,
    methods: Sequence[str] = (DEFAULT_METHOD,),
    response: Response = "own",
    max_new_tokens: int = 300,
    template: bool = False,
    columns: Mapping[str, str] | None = None,
    published_quirk: bool = True,
    engine: str = "local",
    report: Report | None = None,
) -> Store:
    """Run a data set of prompts through a pair and keep what every answer rests on.

    Finished prompts are skipped, so an interrupted study is continued by the same call. The
    attributions are stored as they are: other levels, thresholds, norms, normalisations and
    answer cuts are computed from the folder, without the models.

    Parameters
    ----------
    pair : Pair
    data : path, list, `datasets` object or pandas frame
        See `twinlens.studies.data`; bad rows are set aside and reported (`Store.problems`).
    out : path
        Folder of the study.
    methods : sequence of str
        Saliency methods to store, the first is the one analysed by default.
    response : {"own", "base", "tuned", "given"}
        Each model's own answer (the paper), one model's answer for both, or the data's.
    max_new_tokens : int
        Longest answer.
    template : bool
        Put prompts into the tuned model's chat template (the paper does not).
    columns : mapping, optional
        Other names of columns.
    published_quirk : bool
        How annotations are widened, see `twinlens.studies.annotation.widen`.
    engine : {"local"}
        Where the work is done.
    report : callable, optional
        Called as ``report(done, total, what)`` after every prompt; `total` is 0 while unknown;
        may raise `Interrupted`. What is finished stays.

    Returns
    -------
    Store

    Raises
    ------
    StudyError
        If an option is unknown, or the folder holds a study of other models or settings.
    DataError
        If the data as a whole cannot be read.
    """
    from twinlens.compute.attributions.registry import METHODS
    from twinlens.compute.live import trace_pair

    if engine != "local":
        raise StudyError(f"there is no engine {engine!r}: use engine='local'")
    if response not in RESPONSES:
        raise StudyError(f"there is no response {response!r}: use {', '.join(RESPONSES)}")
    unknown = [name for name in methods if name not in METHODS]
    if unknown or not methods:
        raise StudyError(
            f"there is no method {', '.join(unknown) or '(none given)'}: use {', '.join(METHODS)}"
        )
    store = Store.create(
        out,
        pair.info,
        [METHODS[name].method for name in methods],
        {
            "response": response,
            "max_new_tokens": max_new_tokens,
            "template": template,
            "published_quirk": published_quirk,
            "decoding": "greedy",
        },
    )

    def tracer(row: Row) -> Trace:
        if response == "given" and row.answer is None:
            raise StudyError("it has no answer, but response='given' needs one")
        return trace_pair(
            pair,
            row.prompt,
            instruction=list(row.instruction),
            context=list(row.context),
            response=str(row.answer) if response == "given" else response,
            max_new_tokens=max_new_tokens,
            template=template,
        )

    def rows() -> Iterator[Row | Problem]:
        return read_rows(data, columns=columns, published_quirk=published_quirk)

    fill(store, rows(), tracer, total=_count(data), report=report)
    return store


def fill(
    store: Store,
    rows: Iterator[Row | Problem],
    tracer: Tracer,
    *,
    total: int = 0,
    report: Report | None = None,
) -> None:
    """Trace the rows that a study lacks, one after another, and store each at once.

    A row whose prompt cannot be traced is set aside like a bad row; anything that is not an error
    of twinlens stops the study.
    """
    finished = store.finished()
    problems: list[Problem] = []
    started, traced = time.monotonic(), 0
    done = 0
    try:
        for done, row in enumerate(rows, start=1):
            if isinstance(row, Problem):
                problems.append(row)
            elif row.id not in finished:
                try:
                    trace = tracer(row)
                    cases = [
                        make_case(row, trace, side, method.name)
                        for method in store.methods
                        for side in SIDES
                    ]
                except Interrupted:
                    raise
                except TwinlensError as error:
                    problems.append(Problem(row.number, str(error)))
                else:
                    store.append(row.number, cases)
                    traced += 1
            if report:
                report(done, total, _left(done, total, traced, time.monotonic() - started))
    finally:
        store.write_problems(problems)


def make_case(row: Row, trace: Trace, side: Any, method: str) -> Case:
    """The case of one model from a trace of its prompt."""
    manifest = trace.manifest
    scored = manifest.segment_positions(*SCORED_SEGMENTS)
    # With a chat template the prompt stands somewhere inside the text that was read.
    stripped = row.prompt.strip()
    shift = manifest.prompt.find(stripped) - row.prompt.find(stripped)

    def hit(spans: tuple[Span, ...]) -> tuple[int, ...]:
        moved = [(start + shift, end + shift) for start, end in spans]
        return tuple(sorted(set(span_tokens(manifest.prompt_tokens, moved)) & set(scored)))

    judged = side == "tuned"
    return Case(
        id=row.id,
        group=row.group,
        category=row.category,
        side=side,
        prompt=manifest.prompt,
        answer=manifest.answers[side].text,
        prompt_tokens=manifest.prompt_tokens,
        answer_tokens=manifest.answers[side].tokens,
        values=trace.saliency(side, method).values,
        kind="effects",
        scored=tuple(scored),
        instruction=hit(row.instruction),
        fragments=hit(row.fragments),
        rating=row.rating if judged else None,
        followed=row.followed if judged else None,
        method=method,
    )


def _count(data: Any) -> int:
    """Number of rows where that is cheap to know: files are read once more, iterators are not."""
    if isinstance(data, (str, Path)):
        return sum(1 for _ in read_rows(data))
    return len(data) if hasattr(data, "__len__") else 0


def _left(done: int, total: int, traced: int, seconds: float) -> str:
    if not (traced and total > done):
        return "prompts"
    minutes = seconds / traced * (total - done) / 60
    return f"prompts, {minutes:.0f} min left" if minutes >= 1 else "prompts, less than 1 min left"
