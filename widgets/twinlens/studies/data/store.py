"""A study on disk: one folder of Parquet files, complete after every batch of prompts.

``study.json`` says what was run (models, methods, settings). ``rows/`` holds one Parquet file per
batch, several merged into one as their number grows; every file appears whole or not at all, so
that a crash loses the prompts in flight and nothing else. A file that was merged but not yet
removed when the process died is read once only. Prompts may be finished in any order; they are
read in the order of the data.
"""

from __future__ import annotations

import dataclasses
import heapq
import itertools
import json
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from twinlens.contract.manifest import Method, ModelInfo, PairInfo, Token
from twinlens.errors import StudyError, UnknownBlockError
from twinlens.studies.data.cases import Case, CaseTrace
from twinlens.studies.data.change_tables import Changes, read_changes
from twinlens.studies.data.rows import Problem
from twinlens.support.calls import methods_called_rightly
from twinlens.support.files import checked_path, replacing
from twinlens.traces.frames import DataFrame, frame_of

FORMAT = 1
#: So many files of batches are merged into one.
MERGE = 64

_TOKENS = pa.list_(
    pa.struct(
        [("id", pa.int32()), ("text", pa.string()), ("start", pa.int32()), ("end", pa.int32())]
    )
)
_HIDDEN = pa.list_(
    pa.struct(
        [("segment", pa.string()), ("answer", pa.string()), ("costs", pa.list_(pa.float32()))]
    )
)
#: Columns of a study: one row for each case, the cases of a prompt together.
SCHEMA = pa.schema(
    [
        ("number", pa.int64()),
        ("id", pa.string()),
        ("group", pa.string()),
        ("category", pa.string()),
        ("side", pa.string()),
        ("method", pa.string()),
        ("prompt", pa.string()),
        ("answer", pa.string()),
        ("prompt_tokens", _TOKENS),
        ("answer_tokens", _TOKENS),
        ("scored", pa.list_(pa.int32())),
        ("instruction", pa.list_(pa.int32())),
        ("fragments", pa.list_(pa.int32())),
        ("rating", pa.int32()),
        ("followed", pa.bool_()),
        ("values", pa.list_(pa.float32())),
        ("hidden", _HIDDEN),
    ]
)


@methods_called_rightly
class Store:
    """The folder of one study; an iterable of cases of one method (see `Cases`).

    Attributes
    ----------
    folder : Path
    pair : PairInfo or None
    methods : tuple of Method
    settings : dict
        Of the run.
    method : str
        The method whose cases iteration yields; `with_method` chooses another.

    Examples
    --------
    >>> import twinlens as tl
    >>> prompts = [{"prompt": "Make this sentence negative: The cat swims."}]
    >>> store = tl.study(tl.demo_pair(), prompts, "opposites", template=True, max_new_tokens=12)
    >>> store.to_frame()["side"].tolist()
    ['base', 'tuned']
    """

    def __init__(self, folder: str | Path, method: str | None = None) -> None:
        self.folder = Path(folder)
        try:
            info = json.loads((self.folder / "study.json").read_text(encoding="utf-8"))
            if info["format"] > FORMAT:
                raise StudyError(
                    f"{self.folder.name} was written by a newer twinlens: upgrade to read it"
                )
            pair = info["pair"]
            models = {side: ModelInfo(**pair[side]) for side in ("base", "tuned")}
            self.pair: PairInfo = PairInfo(**{**pair, **models})
            self.methods = tuple(Method(**entry) for entry in info["methods"])
            self.settings: dict[str, Any] = info["settings"]
        except FileNotFoundError as error:
            raise StudyError(f"{self.folder} holds no study: run `study` into it first") from error
        except (KeyError, TypeError, ValueError) as error:
            raise StudyError(f"study.json of {self.folder.name} is damaged ({error})") from error
        names = [entry.name for entry in self.methods]
        self.method = method or names[0]
        if self.method not in names:
            raise StudyError(
                f"the study holds {', '.join(names)}, not {self.method}: run it with that method"
            )

    def __repr__(self) -> str:
        names = f"{self.pair.base.name} | {self.pair.tuned.name}"
        return f"<Store {self.folder.name} of {names}: {self.method}>"

    def to_frame(self) -> DataFrame:
        """One row per case of the chosen method: what was read and answered, and its judgement.

        Scores are in the tables of `analyse`, the effects of tokens in `Case.values`.
        """
        names = ("id", "group", "category", "side", "method", "prompt", "answer")
        return frame_of(
            [
                {
                    **{name: getattr(case, name) for name in names},
                    "prompt_length": len(case.prompt_tokens),
                    "answer_length": case.answer_length,
                    "rating": case.rating,
                    "followed": case.followed,
                }
                for case in self
            ]
        )

    @classmethod
    def create(
        cls, folder: str | Path, pair: PairInfo, methods: Sequence[Method], settings: dict[str, Any]
    ) -> Store:
        """Open a study folder for writing; one that is there must have been made the same way.

        Parameters
        ----------
        folder : path
        pair : PairInfo
        methods : sequence of Method
        settings : dict
            Of the run, plain JSON values.

        Raises
        ------
        StudyError
            If the folder holds a study of other models or settings.
        """
        root = checked_path(folder, "the folder of a study", StudyError)
        (root / "rows").mkdir(parents=True, exist_ok=True)
        info = {
            "format": FORMAT,
            "pair": dataclasses.asdict(pair),
            "methods": [dataclasses.asdict(method) for method in methods],
            "settings": settings,
        }
        if (root / "study.json").exists():
            store = cls(root)
            known = json.loads((root / "study.json").read_text(encoding="utf-8"))
            changed = [key for key in info if known.get(key) != json.loads(json.dumps(info[key]))]
            if changed:
                raise StudyError(
                    f"{root.name} holds a study with other {' and '.join(changed)}: give another "
                    "out= folder, or the same models and settings to continue it"
                )
            return store
        _write_text(root / "study.json", json.dumps(info, indent=1))
        return cls(root)

    def with_method(self, method: str) -> Store:
        """The same study, iterating over the cases of another method.

        Parameters
        ----------
        method : str
            The name of one of `methods`; any other is a `StudyError`.
        """
        return Store(self.folder, method)

    @property
    def others(self) -> list[Store]:
        """The same study with each other method."""
        return [self.with_method(m.name) for m in self.methods if m.name != self.method]

    @property
    def changes(self) -> Changes:
        """Tables about the weights of the pair that were put into the folder."""
        return read_changes(self.folder)

    def append(self, table: pa.Table) -> None:
        """Write all cases of some prompts; they are there for good when this returns.

        Parameters
        ----------
        table : pyarrow.Table
            As `as_table` makes it.
        """
        first = pc.min(table.column("number")).as_py()
        self._write(table.select(SCHEMA.names).cast(SCHEMA), f"{first:09d}")
        batches = [path for path in self._files() if "-" not in path.stem]
        if len(batches) >= MERGE:
            self._merge(batches)

    def finished(self) -> set[str]:
        """Ids of the prompts that are complete."""
        return {
            case_id
            for path in self._files()
            for case_id in pq.read_table(path, columns=["id"]).column("id").to_pylist()
        }

    def __iter__(self) -> Iterator[Case]:
        seen: set[str] = set()
        for cases in self._prompts():
            if cases[0].id not in seen:
                seen.add(cases[0].id)
                yield from (case for case in cases if case.method == self.method)

    def cases(self, case_id: str) -> list[Case]:
        """Every case of one prompt: of both models, by every method; none if it is not there.

        Parameters
        ----------
        case_id : str
        """
        for path in self._files():
            if case_id in pq.read_table(path, columns=["id"]).column("id").to_pylist():
                return [case for _, case in self._read(path, case_id)]
        return []

    def frame(self, table: str = "comparisons") -> DataFrame:
        """One table of the analysis under the paper's settings, see `Analysis.to_frame`.

        Parameters
        ----------
        table : str
            Such as "comparisons", "scores" or "exact".

        Raises
        ------
        StudyError
            If there is no such table.
        """
        frame: DataFrame = _analysis(self).to_frame(table)
        return frame

    def _repr_html_(self) -> str:
        """What was found, in a notebook."""
        return str(_analysis(self)._repr_html_())

    def trace(self, case_id: str) -> CaseTrace:
        """Both cases of a prompt as a trace, for the saliency panel.

        Parameters
        ----------
        case_id : str

        Raises
        ------
        UnknownBlockError
            If there is no such prompt in the study.
        """
        cases = {case.side: case for case in self.cases(case_id) if case.method == self.method}
        if cases:
            method = next(entry for entry in self.methods if entry.name == self.method)
            return CaseTrace(cases["base"], cases["tuned"], self.pair, method)
        raise UnknownBlockError(f"there is no prompt {case_id} in this study")

    def write_problems(self, problems: Sequence[Problem]) -> None:
        """Replace the report on rows that were set aside (``problems.jsonl``).

        Parameters
        ----------
        problems : sequence of Problem
        """
        ordered = sorted(problems, key=lambda problem: problem.number)
        lines = [json.dumps(dataclasses.asdict(problem)) for problem in ordered]
        _write_text(self.folder / "problems.jsonl", "".join(f"{line}\n" for line in lines))

    @property
    def problems(self) -> list[Problem]:
        """Rows set aside in the last run."""
        path = self.folder / "problems.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [Problem(**json.loads(line)) for line in lines]

    def _prompts(self) -> Iterator[list[Case]]:
        """All cases of one prompt after another; prompts of a crashed merge come twice.

        Each file is in order, but one may begin before another ends: those are read side by side.
        """
        reading: list[tuple[int, int, list[Case], Iterator[tuple[int, list[Case]]]]] = []

        def go_on(place: int, prompts: Iterator[tuple[int, list[Case]]]) -> None:
            if following := next(prompts, None):
                heapq.heappush(reading, (following[0], place, following[1], prompts))

        for place, path in enumerate([*self._files(), None]):
            while reading and (path is None or reading[0][0] < _first(path)):
                _, earlier, cases, prompts = heapq.heappop(reading)
                yield cases
                go_on(earlier, prompts)
            if path is not None:
                go_on(place, _by_prompt(self._read(path)))

    def _read(self, path: Path, case_id: str | None = None) -> Iterator[tuple[int, Case]]:
        """Cases of one file, all or those of one prompt, each with the number of its prompt."""
        try:
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(batch_size=8):
                    if case_id is not None:
                        batch = batch.filter(pc.equal(batch.column("id"), case_id))
                    values = batch.column("values")
                    rest = batch.drop_columns(["values"]).to_pylist()
                    for i, record in enumerate(rest):
                        flat = values[i].values.to_numpy(zero_copy_only=False)
                        yield record["number"], _case(record, flat)
        except (pa.ArrowException, OSError) as error:
            raise StudyError(
                f"{path.name} of {self.folder.name} is damaged ({error}): remove it and run the "
                "study again to fill the gap"
            ) from error

    def _files(self) -> list[Path]:
        return sorted((self.folder / "rows").glob("*.parquet"))

    def _write(self, table: pa.Table, place: str) -> None:
        # The ids are part of the name: rows of changed data never replace each other.
        ids = "\n".join(table.column("id").to_pylist())
        name = f"{place}_{zlib.crc32(ids.encode()):08x}"
        target = self.folder / "rows" / f"{name}.parquet"
        with replacing(target) as stream:
            # A stable order: cases of a prompt stay as they are.
            pq.write_table(table.sort_by("number"), stream, compression="zstd", row_group_size=64)
            stream.flush()
            os.fsync(stream.fileno())

    def _merge(self, paths: Sequence[Path]) -> None:
        table = pa.concat_tables([pq.read_table(path, schema=SCHEMA) for path in paths])
        numbers = pc.min_max(table.column("number")).as_py()
        self._write(table, "{min:09d}-{max:09d}".format(**numbers))
        for path in paths:
            path.unlink()


def _analysis(store: Store) -> Any:
    # What stands above the data is looked up by name, as `twinlens.studies` itself does.
    return import_module("twinlens.studies").analyse(store)


def as_table(cases: Mapping[int, Sequence[Case]]) -> pa.Table:
    """All cases of some prompts, by their places in the data, as rows of a study."""
    records = [_record(number, case) for number, mine in cases.items() for case in mine]
    return pa.Table.from_pylist(records, schema=SCHEMA)


def _first(path: Path) -> int:
    """Number of the first prompt in a file."""
    return int(path.stem.partition("_")[0].partition("-")[0])


def _by_prompt(cases: Iterator[tuple[int, Case]]) -> Iterator[tuple[int, list[Case]]]:
    for (number, _), group in itertools.groupby(cases, key=lambda item: (item[0], item[1].id)):
        yield number, [case for _, case in group]


def _record(number: int, case: Case) -> dict[str, Any]:
    return {
        **{name: getattr(case, name) for name in SCHEMA.names if name != "number"},
        "number": number,
        "prompt_tokens": [_token_record(token) for token in case.prompt_tokens],
        "answer_tokens": [_token_record(token) for token in case.answer_tokens],
        "values": np.ascontiguousarray(case.values, dtype=np.float32).ravel(),
        "hidden": [
            {"segment": segment, "answer": answer, "costs": list(costs)}
            for (segment, answer), costs in case.hidden.items()
        ],
    }


def _token_record(token: Token) -> dict[str, Any]:
    return {"id": token.id, "text": token.text, "start": token.start, "end": token.end}


def _case(record: dict[str, Any], flat: Any) -> Case:
    scored = set(record["scored"])
    prompt_tokens = tuple(
        Token(**token, segment="other" if i in scored else "template")
        for i, token in enumerate(record["prompt_tokens"])
    )
    answer_tokens = tuple(Token(**token) for token in record["answer_tokens"])
    places = ("scored", "instruction", "fragments")
    fields = {
        **{name: value for name, value in record.items() if name != "number"},
        **{name: tuple(record[name]) for name in places},
        "prompt_tokens": prompt_tokens,
        "answer_tokens": answer_tokens,
        "values": flat.reshape(len(prompt_tokens), len(answer_tokens)),
        # Studies of earlier versions have none.
        "hidden": {
            (entry["segment"], entry["answer"]): tuple(entry["costs"])
            for entry in record.get("hidden") or ()
        },
    }
    return Case(kind="effects", **fields)


def _write_text(target: Path, text: str) -> None:
    with replacing(target) as stream:
        stream.write(text.encode("utf-8"))
