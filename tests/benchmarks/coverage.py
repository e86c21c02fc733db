"""How often the 95 % intervals of two samples at equal answer length hold what is true.

    python -m tests.benchmarks.coverage              # 1000 draws of each setting
    python -m tests.benchmarks.coverage --draws 4000

Two samples of one shape or of two, with one spread or two, whose answer lengths are alike or not;
scores rise with the logarithm of the length.
"""

from __future__ import annotations

import argparse

import numpy as np
from twinlens.studies.analysis.equal_length import without_length

from tests.unit.studies.analysis.test_inference import DRAWS

SIZES = (10, 10), (15, 15), (19, 60), (100, 100)
SHAPES = "normal", "t3", "lognormal", "mixture"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=1000)
    draws = parser.parse_args().draws
    print("| first | second | shape | spread | longer by | covered |\n|---|---|---|---|---|---|")
    for n, m in SIZES:
        for shape in SHAPES:
            for spread in (1, 3):
                for longer in (0, 10):
                    found = covered(n, m, shape, spread, longer, draws)
                    print(f"| {n} | {m} | {shape} | x {spread} | {longer} | {found:.3f} |")


def covered(n: int, m: int, shape: str, spread: float, longer: int, draws: int) -> float:
    """Share of draws whose interval holds the difference; a mixture of its own against a normal."""
    generator = np.random.default_rng(n + m)
    first = DRAWS["normal" if shape == "mixture" and spread > 1 else shape]
    second = DRAWS[shape]
    many = spread * second(generator, 10**6) - first(generator, 10**6)
    truth = float(np.median(many)) + 0.2
    is_second = np.repeat([False, True], [n, m])
    kept = []
    for _ in range(draws):
        lengths = np.concatenate(
            [
                generator.integers(20, 120, n),
                generator.integers(20 + longer, 120 + longer, m),
            ]
        )
        values = np.concatenate([first(generator, n), 0.2 + spread * second(generator, m)])
        samples = without_length(values + np.log(lengths), is_second, lengths)
        kept.append(samples.p(truth) >= 0.05)
    return float(np.mean(kept))


if __name__ == "__main__":
    main()
