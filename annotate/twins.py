"""Find prompts that are nearly the same, so that none of them is learned from and tested on.

    python -m annotate.twins --output DIR

Two prompts are twins where their sets of five-letter pieces have a Jaccard similarity of the threshold or
more. MinHash (Broder 1997) finds who could be: 96 signatures in bands of four, so that of pairs at 0.7 all
but one in 700 meet in a band; those that meet are measured exactly. Twins of twins share a cluster.
"""

from __future__ import annotations

import json
import sys
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from annotate.twins_config import TwinsConfig
from lm.run_directory import EX_TEMPFAIL, StopSignal, command

PIECE = 5  # letters
BANDS, ROWS = 24, 4
LETTERS = 20_000  # of a prompt that are looked at
FIRST_OF_BUCKET = 8  # clusters of one bucket that a newcomer is measured against
REPORT_EVERY = 1000

Pieces = NDArray[np.uint64]


def main() -> None:
    """Read the prompts, write the clusters."""
    config, directory, _ = command(TwinsConfig)
    stop = StopSignal()
    directory.resume(0)
    texts = dict(_read(directory.path / "input" / "prompts.jsonl"))
    progress = Finder(list(texts.values()), threshold=config.threshold, seed=config.seed)
    for done in progress.find():
        directory.report(step=done, total=len(texts), phase="compare")
        if stop:
            sys.exit(EX_TEMPFAIL)
    names = list(texts)
    clusters = [[names[number] for number in group] for group in progress.clusters()]
    directory.write_result({"prompts": len(texts), "clusters": clusters})


def _read(path: Path) -> Iterator[tuple[int, str]]:
    with path.open("rb") as file:
        for line in file:
            prompt, text = json.loads(line)
            yield prompt, text


def pieces(text: str) -> Pieces:
    """Hashes of all runs of five letters, each once; case, marks and widths of spaces don't count."""
    plain = unicodedata.normalize("NFKC", text[:LETTERS]).casefold()
    plain = " ".join("".join(letter if letter.isalnum() else " " for letter in plain).split()) or text.strip()
    codes = np.frombuffer(plain.ljust(PIECE).encode("utf-32-le"), dtype=np.uint32).astype(np.uint64)
    windows = np.lib.stride_tricks.sliding_window_view(codes, PIECE)
    powers = np.uint64(0x9E3779B97F4A7C15) ** np.arange(1, PIECE + 1, dtype=np.uint64)
    return np.unique(_mixed((windows * powers).sum(axis=1, dtype=np.uint64)))


def similarity(one: Pieces, other: Pieces) -> float:
    """Jaccard's: the share of all pieces that both have."""
    both = np.intersect1d(one, other, assume_unique=True).size
    return both / (one.size + other.size - both)


class Finder:
    """Clusters of texts, one text after the other."""

    def __init__(self, texts: Sequence[str], *, threshold: float, seed: int = 0) -> None:
        self._texts, self._threshold = texts, threshold
        chance = np.random.default_rng(seed)
        self._salts = chance.integers(1, 2**63, size=(BANDS * ROWS, 1), dtype=np.uint64)
        self._parents = list(range(len(texts)))

    def find(self) -> Iterator[int]:
        """Look at every text; says from time to time how many it has seen."""
        buckets: dict[tuple[int, bytes], list[int]] = defaultdict(list)
        for number, text in enumerate(self._texts):
            mine = pieces(text)
            measured = set()
            for key in self._keys(mine):
                bucket = buckets[key]
                for other in bucket:
                    if other not in measured and self._root(other) != self._root(number):
                        measured.add(other)
                        if similarity(mine, pieces(self._texts[other])) >= self._threshold:
                            self._parents[self._root(number)] = self._root(other)
                roots = {self._root(other) for other in bucket}
                if len(bucket) < FIRST_OF_BUCKET and self._root(number) not in roots:
                    bucket.append(number)
            if (number + 1) % REPORT_EVERY == 0:
                yield number + 1

    def clusters(self) -> list[list[int]]:
        """The texts that have twins, by cluster."""
        groups: dict[int, list[int]] = defaultdict(list)
        for number in range(len(self._texts)):
            groups[self._root(number)].append(number)
        return [group for group in groups.values() if len(group) > 1]

    def _keys(self, mine: Pieces) -> Iterable[tuple[int, bytes]]:
        """The buckets of a text: a band's number and its signatures."""
        signatures = _mixed(mine ^ self._salts).min(axis=1).reshape(BANDS, ROWS)
        return ((band, row.tobytes()) for band, row in enumerate(signatures))

    def _root(self, number: int) -> int:
        while self._parents[number] != number:
            self._parents[number] = number = self._parents[self._parents[number]]
        return number


def _mixed(values: Pieces) -> Pieces:
    """SplitMix64's last step: every bit of what goes in changes half of what comes out."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


if __name__ == "__main__":
    main()
