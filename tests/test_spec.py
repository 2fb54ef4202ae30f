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
positive = st.floats(1e-3, 1e3)
triples = st.tuples(numbers, numbers, numbers)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | numbers | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)
specs = st.builds(
    PoseSpec,
    model=words,
    skeleton=st.sampled_from(
        [*SKELETONS.values(), Skeleton("own", ("left_a", "right_a", "b"), (2, 2, 2), (0.1, 0.1, 0.2))]
    ),
    codec=st.dictionaries(words, plain, max_size=4),
    size=st.tuples(st.integers(1, 4096), st.integers(1, 4096)),
    padding=positive,
    colour=st.sampled_from(["rgb", "bgr"]),
    mean=triples,
    std=st.tuples(positive, positive, positive),
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
    spec = PoseSpec(
        "net", LSP14, {"name": "heatmap", "size": (256, 256)}, (256, 256), arguments={"sizes": (1, 2)}
    )
    assert PoseSpec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100000,
        '{"a":' * 100000,
        "1" * 5000,
        "",
        "nothing",
        "[]",
        "3",
        "null",
        "{}",
        '{"skeleton": 3}',
        '{"skeleton": {"name": "a"}}',
    ],
)
def test_bad_specs_are_refused(text):
    with pytest.raises(ValueError, match="this is not a PoseSpec"):
        PoseSpec.from_json(text)


def test_fields_of_a_newer_version_are_kept_and_mean_nothing():
    spec = PoseSpec("net", LSP14, {}, (64, 64))
    fields = json.loads(spec.to_json())
    fields |= {"version": "1.7", "taste": ["sweet"], "skeleton": fields["skeleton"] | {"colours": "red"}}
    read = PoseSpec.from_json(json.dumps(fields))
    assert (read.model, read.skeleton, read.size) == ("net", LSP14, (64, 64))
    assert read.unknown == {"taste": ["sweet"], "skeleton": {"colours": "red"}}
    assert json.loads(read.to_json()) == fields


def test_a_file_from_before_there_were_versions_is_of_the_first():
    spec = PoseSpec("net", LSP14, {}, (64, 64))
    fields = json.loads(spec.to_json())
    assert fields.pop("version") == "1.0"
    assert PoseSpec.from_json(json.dumps(fields)) == spec


@pytest.mark.parametrize("version", ["2.0", "2", 2, 17.5, "next"])
def test_a_newer_version_is_refused(version):
    fields = json.loads(PoseSpec("net", LSP14, {}, (64, 64)).to_json()) | {
        "version": version,
        "size": "whatever",
    }
    with pytest.raises(
        ValueError,
        match=rf"its PoseSpec is of version {version}, and this poseling reads version 1; update poseling",
    ):
        PoseSpec.from_json(json.dumps(fields))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": [64]}, r"size is \[64\], expected a list of 2"),
        ({"size": [64, {}]}, r"size\[1\] is \{\}, expected a whole number"),
        ({"size": [64, 1e300]}, r"size\[1\] is 1000.*expected a whole number"),
        ({"size": [0, 64]}, r"size is \(0, 64\)"),
        ({"size": [64, 2**40]}, "1 to 4096"),
        ({"padding": float("nan")}, "padding is nan, expected a finite number"),
        ({"padding": -1}, "padding is -1"),
        ({"mean": "red"}, "mean is 'red', expected a list"),
        ({"std": [1, 1, 0]}, "above 0"),
        ({"outputs": [1]}, r"outputs\[0\] is 1, expected text"),
        ({"licences": {"code": 3}}, r"licences\['code'\] is 3, expected text"),
        ({"codec": "heatmap"}, "codec is 'heatmap', expected values by name"),
        ({"colour": ["rgb"]}, "colour is"),
        (
            {"skeleton": {"name": "a", "joints": ["b"], "parents": [0], "sigmas": [None]}},
            r"skeleton: sigmas\[0\] is None",
        ),
        ({"skeleton": {"name": "a", "joints": ["b"], "parents": [0.5]}}, r"skeleton: parents\[0\] is 0\.5"),
        ({"skeleton": {"name": "a", "joints": [], "parents": []}}, "has no joints"),
    ],
)
def test_fields_of_another_type_or_range(change, message):
    fields = json.loads(PoseSpec("net", LSP14, {}, (64, 64)).to_json())
    with pytest.raises(ValueError, match=rf"this is not a PoseSpec: .*{message}"):
        PoseSpec.from_json(json.dumps(fields | change))


def test_a_missing_field_is_named():
    fields = json.loads(PoseSpec("net", LSP14, {}, (64, 64)).to_json())
    del fields["model"]
    with pytest.raises(ValueError, match=r"not a PoseSpec.*model"):
        PoseSpec.from_json(json.dumps(fields))


def test_bad_fields():
    with pytest.raises(ValueError, match="colour is 'grey'; use 'rgb' or 'bgr'"):
        PoseSpec("net", LSP14, {}, (64, 64), colour="grey")
    with pytest.raises(ValueError, match="need three numbers each"):
        PoseSpec("net", LSP14, {}, (64, 64), mean=(0.5,))
