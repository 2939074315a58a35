"""Bad input, led by coverage: libFuzzer (atheris) looks for inputs that reach code which none before reached.

    python -m tests.soak.guided --runs 200000 --seed 1

An input is a few records, one a line: a character for the topic, then the value. It is folded by steps made anew, then
planned and restored, so that what is found does not depend on what came before. Mutations know the structure (those of
``bad_input``, on one line) or nothing of it (libFuzzer's own). What harms is kept by libFuzzer as ``crash-…`` and is
repeated with ``--repeat FILE``. A process makes ``SHARE`` runs, the next goes on with the inputs that it has kept: what
atheris itself holds grows with its runs, to libFuzzer's limit of 4 GB in some 24,000. Linux only, like atheris.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, Final

from tests.soak.fuzz.mutate import SPOILS, Input, key_of, valid
from tests.soak.fuzz.target import SECONDS_PER_INPUT_MOST, Target, watchdog
from tests.soak.fuzz.templates import TEMPLATES

TOPICS: Final = tuple(sorted(TEMPLATES))
SHARE: Final = 10_000
"""Runs of one process."""
LINES_MOST: Final = 8
BYTES_MOST: Final = 16_384


def line(given: Input) -> bytes:
    """A record as a line of an input."""
    return b"%c" % (ord("a") + TOPICS.index(given.topic)) + (given.value or b"")


def records(data: bytes) -> list[Input]:
    """The records of an input."""
    found = []
    for text in data.split(b"\n")[:LINES_MOST]:
        if text:
            topic = TOPICS[text[0] % len(TOPICS)] if text[0] < ord("a") else TOPICS[(text[0] - ord("a")) % len(TOPICS)]
            found.append(Input("guided", topic, _key(topic, text[1:]), text[1:]))
    return found


def _key(topic: str, value: bytes) -> bytes:
    try:
        body = json.loads(value)
    except (ValueError, RecursionError):
        return b"unreadable"
    return key_of(topic, body) if isinstance(body, dict) else b"unreadable"


def run(data: bytes, ended: Counter[str] | None = None) -> None:
    """Fold an input, plan and restore what became of it.

    Raises:
        Harm: an input did what none may; anything else is a bug too.
    """
    target = Target()
    with watchdog(SECONDS_PER_INPUT_MOST * 12):
        given = records(data)
        target.feed(given[:-1], review=True)
        target.restart()
        for last in given[-1:]:
            target.harmless(last)
        target.feed([], review=True)
    if ended is not None:
        ended += target.ended


def mutated(data: bytes, chance: random.Random) -> bytes:
    """An input with one of its lines spoilt as ``bad_input`` does, or with another line."""
    lines = [text for text in data.split(b"\n") if text][:LINES_MOST]
    at = chance.randrange(len(lines)) if lines else 0
    if not lines or (len(lines) < LINES_MOST and chance.random() < 0.3):
        lines.insert(at, line(valid(chance)))
    elif len(lines) > 1 and chance.random() < 0.1:
        del lines[at]
    else:
        try:
            body: Any = json.loads(lines[at][1:])
        except (ValueError, RecursionError):
            body = None
        if isinstance(body, dict):
            chance.choice(tuple(SPOILS.values()))(chance, body)
            lines[at] = lines[at][:1] + json.dumps(body).encode()
    return b"\n".join(lines)


def _seeds(corpus: Path) -> int:
    """Every template alone, and a few of valid ones together."""
    corpus.mkdir(parents=True, exist_ok=True)
    number = 0
    for topic, bodies in TEMPLATES.items():
        for body in bodies:
            text = line(Input("template", topic, None, json.dumps(body).encode()))
            if len(text) <= BYTES_MOST:
                (corpus / f"template-{number}").write_bytes(text)
                number += 1
    chance = random.Random(1)
    for course in range(20):
        (corpus / f"course-{course}").write_bytes(b"\n".join(line(valid(chance)) for _ in range(5)))
    return number + 20


def main() -> int:
    parser = argparse.ArgumentParser(description="Bad input, led by coverage.")
    parser.add_argument("--runs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", type=Path, help="where inputs worth keeping are; default: a temporary folder")
    parser.add_argument("--repeat", type=Path, help="run this input alone")
    asked = parser.parse_args()
    if asked.repeat:
        run(asked.repeat.read_bytes())
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        corpus = asked.corpus or Path(tempfile.mkdtemp()) / "corpus"
        return _watch(asked, corpus.resolve(), Path(temporary) / "ends.json")


def _watch(asked: argparse.Namespace, corpus: Path, ends: Path) -> int:
    print(
        f"seed {asked.seed}: {_seeds(corpus)} inputs to begin with, {asked.runs:,} runs; kept in {corpus}", flush=True
    )
    ended = Counter[str]()
    reached: list[str] = []
    for number, begin in enumerate(range(0, asked.runs, SHARE)):
        share = min(SHARE, asked.runs - begin)
        status, said = _share(share, asked.seed + number, corpus, ends, reached)
        if ends.exists():
            ended.update(json.loads(ends.read_text(encoding="utf-8")))
            ends.unlink()
        if status:
            print("".join(said[-40:]))
            print(f"HARM: status {status}; the input is beside the corpus, repeat it with --repeat")
            return 1
        print(f"{begin + share:,} of {asked.runs:,} runs: {reached[-1]}", flush=True)
    for name, count in sorted(ended.items()):
        print(f"  {name:<60} {count:>10,}")
    print(f"\nat first {reached[0]}; at last {reached[-1]}")
    print("harms: none")
    return 0


def _share(runs: int, seed: int, corpus: Path, ends: Path, reached: list[str]) -> tuple[int, list[str]]:
    """One process; returns how it ended and what it said, and adds what it began with and came to reach."""
    child = subprocess.Popen(
        [
            sys.executable, "-m", "tests.soak.fuzz.guide", str(ends), f"-runs={runs}", f"-seed={seed}",
            f"-artifact_prefix={corpus.parent}/", str(corpus),
        ],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
    )  # fmt: skip
    said: list[str] = []
    for text in child.stdout or ():
        said.append(text)
        if found := re.search(r"cov: \d+ ft: \d+ corp: \d+", text):
            reached.append(found[0])
            if re.search(r" pulse ", text):
                print(f"{text.split()[0]} {found[0]}", flush=True)
    return child.wait(), said


if __name__ == "__main__":
    sys.exit(main())
