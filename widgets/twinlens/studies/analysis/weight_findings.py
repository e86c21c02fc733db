"""What tables of heads and concepts say, in sentences."""

from __future__ import annotations

from collections.abc import Mapping

from twinlens.studies.analysis.comparisons import SIGNIFICANCE, Verdict
from twinlens.studies.analysis.study_finding import StudyFinding
from twinlens.studies.analysis.weight_changes import shown_components
from twinlens.studies.data.change_tables import Changes, ChangeTable


def weight_findings(changes: Changes) -> list[StudyFinding]:
    """One finding per table about the weights."""
    findings = []
    if "heads" in changes:
        findings.append(_heads(changes["heads"]))
    for kind, words in (("task", "user tasks"), ("level", "linguistic levels")):
        if kind in changes:
            findings.append(_labels(changes[kind], words))
    if "rotation" in changes:
        findings.append(_rotation(changes["rotation"]))
    return findings


def _heads(table: ChangeTable) -> StudyFinding:
    """All layers together are the last group of the table."""
    everywhere = [row for row in table.rows if row["layers"] == table.rows[-1]["layers"]]
    first, *others = everywhere
    sentences = []
    for row in others:
        if row["share"] is None or first["share"] is None:
            continue
        text = (
            f"Words of the list {row['list']!r} rise in {row['share']:.1%} of the heads where "
            f"their number of pairs changed, those of {first['list']!r} in {first['share']:.1%} "
            f"(layers {row['layers']}; {row['words']} and {first['words']} words"
        )
        p = "" if row["p"] is None else f"; Welch t over words, two-sided, p = {row['p']:.2g}"
        sentences.append(f"{text}{p}).")
    verdict = _two_sided(others[0], first) if others else None
    claim = "Attention heads gain word pairs with instruction verbs"
    return StudyFinding(claim, verdict, tuple(sentences) or ("No head's word pairs changed.",))


def _two_sided(row: Mapping[str, float | None], first: Mapping[str, float | None]) -> Verdict:
    second, before, p = row["share"], first["share"], row["p"]
    if second is None or before is None or p is None:
        return "too few"
    if p >= SIGNIFICANCE:
        return "no difference shown"
    return "holds" if second > before else "turns"


def _labels(table: ChangeTable, words: str) -> StudyFinding:
    base, *rest = table.parameters["models"]
    everywhere = [row for row in table.rows if row["layers"] == table.rows[-1]["layers"]]
    said = []
    for row in everywhere:
        before = row[f"mean_{base}"]
        if not rest or before is None or row[f"mean_{rest[0]}"] is None:
            continue
        p = "" if row["p"] is None else f" (p = {row['p']:.2g})"
        said.append(f"{row['label']} {before:.1%} and {row[f'mean_{rest[0]}']:.1%}{p}")
    text = f"Share of named concepts per label, {base} and {rest[0] if rest else '-'}: "
    return StudyFinding(
        f"How the concepts spread over {words}", None, (f"{text}{'; '.join(said)}.",)
    )


def _rotation(table: ChangeTable) -> StudyFinding:
    k = shown_components(table)
    rows = [row for row in table.rows if row["k"] == k]
    most = max(rows, key=lambda row: row["mean"])
    mean = sum(row["mean"] for row in rows) / len(rows)
    text = (
        f"The {k} leading concepts of a layer are turned by {mean:.1f} degrees on average over the "
        f"layers, most in layer {most['layer']} ({most['mean']:.1f}); a random rotation turns them "
        f"by {rows[0]['null_mean']:.1f}."
    )
    return StudyFinding("How far the feed-forward concepts are turned", None, (text,))
