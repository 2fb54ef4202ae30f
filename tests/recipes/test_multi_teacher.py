"""The words that weigh teachers: what was said comes back, and nothing is taken that says something twice or
nothing.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poseling.recipes.multi_teacher import parse
from poseling.skeleton import COCO17

NAMES = st.from_regex(r"[a-z][a-z0-9_.-]{0,12}", fullmatch=True)
NUMBERS = st.floats(0, 1e6, allow_nan=False)
GIVEN = st.dictionaries(
    NAMES, NUMBERS | st.dictionaries(st.sampled_from(COCO17.joints), NUMBERS, min_size=1), max_size=5
)


def words(weights):
    return [
        word
        for name, worth in weights.items()
        for word in (
            [f"{name}:{joint}={value!r}" for joint, value in worth.items()]
            if isinstance(worth, dict)
            else [f"{name}={worth!r}"]
        )
    ]


@settings(max_examples=50, deadline=None)
@given(weights=GIVEN, random=st.randoms(use_true_random=False))
def test_what_was_said_comes_back_in_any_order(weights, random):
    said = words(weights)
    random.shuffle(said)
    assert parse(tuple(said)) == weights


@settings(max_examples=50, deadline=None)
@given(weights=GIVEN.filter(bool), data=st.data())
def test_a_name_has_one_weight_or_one_a_joint_not_both(weights, data):
    said = words(weights)
    name, again = data.draw(st.sampled_from(sorted(weights))), data.draw(NUMBERS)
    with pytest.raises(ValueError, match="sets a weight a second time"):
        parse((*said, f"{name}={again!r}"))
    if not isinstance(weights[name], dict):
        with pytest.raises(ValueError, match="sets a weight a second time"):
            parse((*said, f"{name}:nose={again!r}"))


@pytest.mark.parametrize(
    "word", ["a", "a=", "=1", "a=much", "a:=1", ":nose=1", "a=nan", "a:nose", "a=1=2", ""]
)
def test_a_word_of_another_form(word):
    with pytest.raises(ValueError, match=f"--weights {word}: is not NAME=WEIGHT or NAME:JOINT=WEIGHT"):
        parse(("b=1", word))


def test_a_joint_that_is_weighed_twice():
    with pytest.raises(ValueError, match=r"--weights a:nose=2: .* a second time"):
        parse(("a:nose=1", "a:nose=2"))
