"""The card of the pair and the full report, written from the numbers of the evaluation."""

from __future__ import annotations

from pathlib import Path

from .export import hashes

HERE = Path(__file__).parent
CARD_SAMPLES = 8


def table(header: list[str], rows: list[list[object]]) -> str:
    """Write a table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in row) + " |" for row in lines)


def percent(value: float | None) -> str:
    """Write a share."""
    return "-" if value is None else f"{100 * value:.1f} %"


def _worst(success: dict[str, dict[str, float]], kind: str) -> tuple[str, float]:
    names = [name for name in success if name.startswith(kind)]
    return min(
        (
            (name.removeprefix(kind + " "), share)
            for name in names
            for share in success[name].values()
        ),
        key=lambda pair: pair[1],
    )


def bars(report: dict) -> str:
    """Compare the numbers with the bars set before training."""
    tuned = report["success"]["tuned, template"]
    base = max(
        share
        for name, groups in report["success"].items()
        if name.startswith("base")
        for share in groups["all"].values()
    )
    ratio = report["perplexity"]["tuned"] / report["perplexity"]["base"]
    worst_name, worst = _worst(tuned, "family")
    stopped = report["stopped"]["tuned, template"]
    rows = [
        ("tuned follows, known wordings, held-out contents", tuned["all"]["known"], 0.9, True),
        ("tuned follows, held-out wordings and contents", tuned["all"]["new"], 0.8, True),
        (f"weakest family of tasks ({worst_name})", worst, 0.5, True),
        ("base follows, the best of four (wording, template or bare)", base, 0.05, False),
        ("tuned stops by itself", stopped, 0.95, True),
    ]
    lines = [
        [
            name,
            ("at least " if up else "at most ") + f"{100 * bar:.0f} %",
            percent(value),
            "yes" if (value >= bar if up else value <= bar) else "**no**",
        ]
        for name, value, bar, up in rows
    ]
    lines.append(
        [
            "perplexity on held-out base text, tuned / base",
            "at most 1.5",
            f"{ratio:.2f}",
            _yes(ratio <= 1.5),
        ]
    )
    for form in ("template", "bare"):
        for measure in ("density, divided by the maximum, sum/log2(2+n)", "effect share"):
            found = next(
                row
                for row in report["importance"][form]
                if row["measure"] == measure and row["case"].startswith("same")
            )
            lines.append(
                [
                    f"instruction, same answer, {form}: {measure}",
                    "tuned higher, paired p < 0.05",
                    f"{found['base']:.3f} → {found['tuned']:.3f}, p = {found['p']:.1e}",
                    _yes(found["tuned"] > found["base"] and found["p"] < 0.05),
                ]
            )
    return table(["bar", "wanted", "measured", "met"], lines)


def _yes(met: bool) -> str:
    return "yes" if met else "**no**"


def success_table(report: dict, kind: str) -> str:
    """Success of tuned per family or task, with template and bare, in both wordings."""
    forms = ["tuned, template", "tuned, bare", "base, template", "base, bare"]
    rows = []
    for name in report["success"][forms[0]]:
        if name == "all" or name.startswith(kind):
            cells = [
                " / ".join(
                    percent(report["success"][form][name].get(wording))
                    for wording in ("known", "new")
                )
                for form in forms
            ]
            rows.append([name.removeprefix(kind + " "), *cells])
    return table([kind, *(f"{form} (known / new wording)" for form in forms)], rows)


def importance_table(report: dict, form: str) -> str:
    """All comparisons of base with tuned."""
    rows = [
        [
            row["case"],
            row["measure"],
            f"{row['base']:.3f}",
            f"{row['tuned']:.3f}",
            f"{row['t']:.1f}",
            f"{row['p']:.1e}",
            f"{row['tuned higher']} of {row['n']}",
        ]
        for row in report["importance"][form]
    ]
    return table(["answer", "measure", "base", "tuned", "paired t", "p", "tuned higher in"], rows)


def concept_table(report: dict) -> str:
    """Leading components with words of both ends, and the match of each base component in tuned."""
    rows = [
        [
            row["layer"],
            row["model"],
            row["component"],
            f"{row['variance']:.3f}",
            f"{row['match']} ({row['cosine']:.2f})" if "match" in row else "",
            ", ".join(row["words"]),
            ", ".join(row["other end"]),
        ]
        for row in report["concepts"]
    ]
    header = ["layer", "model", "component", "variance", "nearest in tuned (cosine)"]
    return table([*header, "words of the stronger end", "words of the other end"], rows)


def _line(text: str) -> str:
    return text.strip().replace("\n", " ⏎ ").replace("|", "\\|") or "(nothing)"


def sample_table(report: dict, count: int) -> str:
    """Answers of both models to prompts of the evaluation set."""
    rows = [
        [_line(row["prompt"]), _line(row["tuned"]), _line(row["base"]), _line(row["base, bare"])]
        for row in report["samples"][:count]
    ]
    return table(["prompt", "tuned", "base in the template", "base, bare prompt"], rows)


def write_card(report: dict, demo: Path) -> None:
    """Write the card beside the weights and the full report beside the recipe."""
    judgement = (HERE / "judgement.md").read_text(encoding="utf-8").strip()
    failures = report["failures"]
    seconds = report["seconds"]
    sizes = {
        p.parent.name: p.stat().st_size / 1e6 for p in sorted(demo.glob("*/model.safetensors"))
    }
    fields = {
        "bars": bars(report),
        "families": success_table(report, "family"),
        "samples": sample_table(report, CARD_SAMPLES),
        "judgement": judgement,
        "parameters": f"{report['parameters'] / 1e6:.2f}",
        "vocabulary": report["vocabulary"],
        "prompts": report["prompts"],
        "overlap": report["overlap with tuning"],
        "anywhere": ", ".join(f"{n}: {percent(v)}" for n, v in report["answer anywhere"].items()),
        "stopped": ", ".join(f"{n}: {percent(v)}" for n, v in report["stopped"].items()),
        "perplexity": ", ".join(f"{n} {v:.2f}" for n, v in report["perplexity"].items()),
        "seconds": "; ".join(f"{n}: {v}" for n, v in seconds.items()).translate(
            str.maketrans("", "", "{}'")
        ),
        "sizes": ", ".join(f"{name} {size:.1f} MB" for name, size in sizes.items()),
        "hashes": table(
            ["file", "sha256"], [[f"`{k}`", f"`{v}`"] for k, v in hashes(demo).items()]
        ),
    }
    text = (HERE / "tables" / "card.md").read_text(encoding="utf-8")
    for name, value in fields.items():
        text = text.replace("{{" + name + "}}", str(value))
    (demo / "README.md").write_text(text, encoding="utf-8")
    parts = [
        "# Report on the embedded pair",
        "Written by `make.py`; the summary is the card in `widgets/twinlens/demo/README.md`.",
        "## Success by task",
        success_table(report, "task"),
        "## How far answers rest on the instruction, chat template",
        importance_table(report, "template"),
        "## How far answers rest on the instruction, bare prompts",
        importance_table(report, "bare"),
        "## Leading feed-forward components of the upper layers",
        concept_table(report),
        "## Samples",
        sample_table(report, 30),
        f"## Unfulfilled prompts of tuned ({len(failures)})",
        table(
            ["task", "wording", "prompt", "tuned", "one right answer"],
            [
                [
                    f["task"],
                    f["wording"],
                    _line(f["prompt"]),
                    _line(f["tuned"]),
                    _line(f["expected"]),
                ]
                for f in failures
            ],
        ),
    ]
    (HERE / "report.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
