"""Answers to a study, counted: a share a method and question, with Wilson's interval."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scipy.stats import binomtest

from mien.errors import MienError
from mien.lab.metrics import Figure
from mien.lab.study.questions import Ask, Key, Question
from mien.lab.tables import told

ASKED: dict[Ask, str] = {"real": "looks real", "shows": "shows {}", "same": "same person"}


@dataclass(frozen=True)
class Answers:
    """What one rater answered: 1 or 2 a question, in the page's order, for as far as the rater came."""

    rater: str
    choices: list[int]


@dataclass(frozen=True)
class Tally:
    """figures: by row and question, the share of answers for the row; raters and answers: how many there were."""

    expression: str
    raters: int
    answers: int
    figures: dict[str, dict[Ask, Figure]]


def tally(files: Sequence[Path], key: Path) -> Tally:
    """Count the answers in ``files`` to the study of ``key``.

    Raises MienError for a file that is no answer, is of another study, or is of a rater who is counted already.
    """
    known = read_key(key)
    raters: dict[str, Path] = {}
    won: Counter[tuple[str, Ask]] = Counter()
    asked: Counter[tuple[str, Ask]] = Counter()
    for path in files:
        answers = read_answers(path, known)
        if answers.rater in raters:
            raise MienError(f"{path}: the same rater as {raters[answers.rater]}; give each rater's last file alone")
        raters[answers.rater] = path
        for question, choice in zip(known.questions, answers.choices, strict=False):
            for row, chosen in verdicts(question, choice):
                won[row, question.ask] += chosen
                asked[row, question.ask] += 1
    if not asked:
        raise MienError("no answer to count; give the files that the study's page saved")
    rows = dict.fromkeys(row for q in known.questions for row, _ in verdicts(q, 1))
    figures = {row: {ask: share(won[row, ask], asked[row, ask]) for ask in ASKED if asked[row, ask]} for row in rows}
    once = sum(count for (_, ask), count in asked.items() if ask == "same")
    twice = sum(count for (_, ask), count in asked.items() if ask != "same")
    return Tally(known.expression, len(raters), once + twice // 2, figures)


def verdicts(question: Question, choice: int) -> list[tuple[str, bool]]:
    """The rows that an answer is about, and whether it is for them."""
    if question.ask == "same":
        return [(question.right, choice == 1)]
    return [(question.left, choice == 1), (question.right, choice == 2)]


def share(won: int, asked: int) -> Figure:
    """Of ``asked`` answers, with the 95 % interval of Wilson 1927, which takes answers as independent."""
    interval = binomtest(won, asked).proportion_ci(method="wilson")
    return Figure(won / asked, float(interval.low), float(interval.high), asked)


def markdown(found: Tally) -> str:
    """The tally as a table: share [95 % interval] (answers)."""
    asks = [ask for ask in ASKED if any(ask in row for row in found.figures.values())]
    heads = [ASKED[ask].format(found.expression) for ask in asks]
    lines = [f"{found.raters} raters, {found.answers} answers", "", "| | " + " | ".join(heads) + " |"]
    lines.append("| --- " * (len(asks) + 1) + "|")
    for name, row in found.figures.items():
        lines.append(f"| {name} | " + " | ".join(told(row[ask]) if ask in row else "–" for ask in asks) + " |")
    return "\n".join(lines)


def read_key(path: Path) -> Key:
    """What `mien study` wrote beside the page; MienError for anything else."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        questions = [Question(**question) for question in stored["questions"]]
        return Key(stored["study"], stored["expression"], questions)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MienError(f"{path}: not the key of a study; --key names the key.json beside its page") from error


def read_answers(path: Path, key: Key) -> Answers:
    """A file that the page saved; MienError for another file, and for one of another study."""
    try:
        stored: Any = json.loads(path.read_text(encoding="utf-8"))
        study, rater, choices = stored["study"], str(stored["rater"]), stored["answers"]
        right = isinstance(choices, list) and all(choice in (1, 2) for choice in choices)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MienError(f"{path}: not answers to a study; give the files that its page saved") from error
    if study != key.study:
        raise MienError(f"{path}: answers to another study; give the --key of that one")
    if not right or len(choices) > len(key.questions):
        raise MienError(f"{path}: answers that the study's page cannot have saved")
    return Answers(rater, choices)
