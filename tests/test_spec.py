"""The contract: through JSON and back, and what is no contract."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poseling.skeleton import COCO17, LSP14, SKELETONS, Skeleton
from poseling.spec import PoseSpec

words = st.text(max_size=20)
numbers = st.floats(allow_nan=False, allow_infinity=False)
triples = st.tuples(numbers, numbers, numbers)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | numbers | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)
specs = st.builds(
    PoseSpec,
    model=words,
    skeleton=st.sampled_from([*SKELETONS.values(), Skeleton("own", ("left_a", "right_a", "b"), (2, 2, 2), (0.1, 0.1, 0.2))]),
    codec=st.dictionaries(words, plain, max_size=4),
    size=st.tuples(st.integers(1, 4096), st.integers(1, 4096)),
    padding=numbers,
    colour=st.sampled_from(["rgb", "bgr"]),
    mean=triples,
    std=triples,
    outputs=st.lists(words, max_size=3).map(tuple),
    licences=st.dictionaries(words, words, max_size=3),
    recipe=words,
    arguments=st.dictionaries(words, plain, max_size=4),
)


@given(specs)
def test_through_json_and_back(spec):
    text = spec.to_json()
    assert "\n" not in text
    assert PoseSpec.from_json(text) == spec


def test_fields_keep_their_types():
    spec = PoseSpec.from_json(PoseSpec("net", COCO17, {"name": "heatmap"}, (192, 256)).to_json())
    assert spec.size == (192, 256)
    assert isinstance(spec.size, tuple)
    assert isinstance(spec.skeleton, Skeleton)
    assert spec.skeleton.sigmas == COCO17.sigmas
    assert hash(spec.skeleton) == hash(COCO17)


def test_the_fields_of_a_codec_come_back_equal():
    """A codec's size is a tuple, JSON has lists."""
    spec = PoseSpec("net", LSP14, {"name": "heatmap", "size": (256, 256)}, (256, 256), arguments={"sizes": (1, 2)})
    assert PoseSpec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize("text", ["", "nothing", "[]", "3", "null", "{}", '{"skeleton": 3}', '{"skeleton": {"name": "a"}}'])
def test_what_is_no_spec(text):
    with pytest.raises(ValueError, match="this is not a PoseSpec"):
        PoseSpec.from_json(text)


def test_a_field_of_a_newer_version_is_told():
    fields = json.loads(PoseSpec("net", LSP14, {}, (64, 64)).to_json())
    with pytest.raises(ValueError, match=r"not a PoseSpec.*taste.*newer version"):
        PoseSpec.from_json(json.dumps({**fields, "taste": "sweet"}))
    del fields["model"]
    with pytest.raises(ValueError, match=r"not a PoseSpec.*model"):
        PoseSpec.from_json(json.dumps(fields))


def test_bad_fields():
    with pytest.raises(ValueError, match="colour is 'grey'; use 'rgb' or 'bgr'"):
        PoseSpec("net", LSP14, {}, (64, 64), colour="grey")
    with pytest.raises(ValueError, match="need three numbers each"):
        PoseSpec("net", LSP14, {}, (64, 64), mean=(0.5,))
