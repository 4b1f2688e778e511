"""Messages for beginners' mistakes: their five parts, and their wording."""

from __future__ import annotations

import pytest

from adjoint.base.errors import AdjointError
from tests.errors.mistakes import Mistake
from tests.errors.regenerate import GOLDEN
from tests.errors.snippets import MISTAKES, failure, golden_text


@pytest.mark.feature("T41")
@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda m: m.name)
def test_a_message_has_its_parts(mistake: Mistake) -> None:
    error = failure(mistake)
    assert isinstance(error, AdjointError), f"{type(error)}: {error}"
    source = mistake.code.split("\n")
    number = mistake.at or len(source)
    lines = str(error).split("\n")
    if lines[0].startswith("in "):  # the module stands above
        del lines[0]
    assert lines[0].startswith(f"{mistake.op}: "), "the operation comes first"
    place = [i for i, line in enumerate(lines) if line.startswith(f"    at {mistake.name}.py:")]
    assert len(place) == 1, "the user's line is named once"
    at = place[0]
    assert f"{mistake.name}.py:{number}" in lines[at]
    assert lines[at + 1] == f"        {source[number - 1].strip()}"
    assert set(lines[at + 2]) == {" ", "^"}, "a caret marks the expression"
    hint = lines[at + 3 :]
    assert hint, "a hint ends the message"
    assert all(line.startswith("    ") and line[4] != " " for line in hint)
    assert all(len(line) <= 125 for line in lines), "lines fit a terminal"
    missing = [word for word in mistake.mentions if word not in str(error)]
    assert missing == []


def test_there_are_enough_mistakes_and_their_names_differ() -> None:
    assert len(MISTAKES) >= 40
    assert len({m.name for m in MISTAKES}) == len(MISTAKES)


def test_the_wording_is_the_accepted_one() -> None:
    assert golden_text() == GOLDEN.read_text(encoding="utf-8"), (
        "if the new wording is better: python -m tests.errors.regenerate"
    )
