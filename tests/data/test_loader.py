"""The stream of samples: each once an epoch, and decided by its seed and place alone."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from poseling.data.augment import Augment
from poseling.data.dataset import PoseDataset, join
from poseling.data.loader import Crops, Order, Stream
from poseling.geometry import Crop
from poseling.skeleton import Skeleton

BODY = Skeleton("body", ("head", "left_hand", "right_hand"), (0, 0, 0))
AUGMENT = Augment(half_body=0.3, occlusion=0.5, color_jitter=0.3)


def crowd(folder, count=7, boxes=(20, 10, 70, 60)):
    """People whose head is in the middle of a white square, in images of noise."""
    random, paths = np.random.default_rng(5), []
    joints = np.zeros((count, 3, 2), np.float32)
    for i in range(count):
        image = random.integers(0, 200, (80, 100, 3), dtype=np.uint8)
        head = random.uniform((35, 25), (55, 45)).round()
        joints[i] = head + np.array([[0, 0], [12, 6], [-10, 8]])
        x, y = head.astype(int)
        image[y - 2 : y + 3, x - 2 : x + 3] = 255
        paths.append(folder / f"{i}.png")
        cv2.imwrite(str(paths[-1]), image)
    return PoseDataset(
        "crowd",
        BODY,
        tuple(paths),
        np.tile(np.float32(boxes), (count, 1)),
        joints,
        np.full((count, 3), 2, np.uint8),
    )


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return crowd(tmp_path_factory.mktemp("crowd"))


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name, value in a.items():
        np.testing.assert_array_equal(np.asarray(value), np.asarray(b[name]), err_msg=name)


@given(count=st.integers(1, 30), seed=st.integers(0, 5), epoch=st.integers(0, 40))
@settings(max_examples=50, deadline=None)
def test_every_sample_once_an_epoch(count, seed, epoch):
    zeros = np.zeros((count, 3, 2), np.float32)
    nobody = PoseDataset(
        "n",
        BODY,
        (Path("x"),) * count,
        np.zeros((count, 4), np.float32),
        zeros,
        zeros[..., 0].astype(np.uint8),
    )
    crops = Crops(nobody, (64, 64), 1.25, AUGMENT, seed)
    assert sorted(crops.person(place) for place in range(epoch * count, (epoch + 1) * count)) == list(
        range(count)
    )


def test_epochs_and_seeds_have_orders_of_their_own(dataset):
    def order(seed, epoch):
        crops = Crops(dataset, (64, 64), 1.25, AUGMENT, seed)
        return tuple(crops.person(epoch * 7 + i) for i in range(7))

    assert len({order(seed, epoch) for seed in range(3) for epoch in range(3)}) == 9


@given(
    draws=st.lists(st.floats(0.01, 10), min_size=1, max_size=40),
    seed=st.integers(0, 5),
    epoch=st.integers(0, 40),
)
@settings(max_examples=50, deadline=None)
def test_every_sample_as_often_as_its_share(draws, seed, epoch):
    """N draws an epoch: the count is the share of N, rounded up or down."""
    count, draws = len(draws), np.array(draws, np.float32)
    order = Order(count, seed, draws)
    found = np.bincount(
        [order(place) for place in range(epoch * count, (epoch + 1) * count)], minlength=count
    )
    wanted = count * draws.astype(np.float64) / draws.sum(dtype=np.float64)
    assert found.sum() == count
    assert (np.abs(found - wanted) < 1 + 1e-6).all()


def test_draws_over_many_epochs_by_hand():
    """Four people of whom the first two have 0.3 of all draws each and the others 0.2: of four draws 1.2 and
    0.8.
    """
    order = Order(4, 0, np.array([3, 3, 2, 2], np.float32))
    found = np.bincount([order(place) for place in range(4 * 1000)])
    assert found / 1000 == pytest.approx([1.2, 1.2, 0.8, 0.8], abs=0.05)
    again = Order(4, 0, np.array([3, 3, 2, 2], np.float32))
    assert [again(place) for place in (2003, 7, 0)] == [
        order(place) for place in (2003, 7, 0)
    ]  # wherever one begins


def test_equal_draws_take_every_sample_once():
    order, plain = Order(7, 3, np.full(7, 0.1, np.float32)), Order(7, 3)
    for epoch in range(20):
        places = range(epoch * 7, (epoch + 1) * 7)
        assert (
            sorted(order(place) for place in places)
            == sorted(plain(place) for place in places)
            == list(range(7))
        )


def test_a_weight_is_what_a_labelled_joint_weighs(dataset):
    visible, weight = dataset.visible.copy(), np.tile(np.float32([0.25, 0.5, 0.75]), (7, 1))
    visible[:, 0] = 0
    some = replace(dataset, visible=visible, weight=weight, draws=np.ones(7, np.float32))
    assert Crops(some, (64, 64), 1.25, Augment(flip=0), 0)[0]["weight"].tolist() == [0, 0.5, 0.75]
    assert Crops(some, (64, 64), 1.25, Augment(flip=1), 0)[0]["weight"].tolist() == [0, 0.75, 0.5]


def test_a_sample_is_decided_by_its_seed_and_place(dataset):
    places = [0, 13, 6, 7, 20, 1]
    first = {place: Crops(dataset, (64, 64), 1.25, AUGMENT, 3)[place] for place in places}
    again = Crops(dataset, (64, 64), 1.25, AUGMENT, 3)
    for place in reversed(places):  # another order, epochs to and fro
        assert_same(again[place], first[place])
    other = Crops(dataset, (64, 64), 1.25, AUGMENT, 4)
    assert any(not np.array_equal(other[place]["image"], first[place]["image"]) for place in places)
    assert not np.array_equal(
        again[0]["color_jitter"], again[7]["color_jitter"]
    )  # another epoch, another draw


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_the_stream_is_the_same_with_workers_and_from_the_middle(dataset, workers):
    crops = Crops(dataset, (64, 64), 1.25, AUGMENT, 0)
    loader = DataLoader(crops, 4, sampler=Stream(8, 20), num_workers=workers)
    assert len(loader) == 3
    for i, batch in enumerate(loader):
        assert batch["image"].dtype == torch.uint8
        for j in range(4):
            assert_same({name: value[j] for name, value in batch.items()}, crops[8 + 4 * i + j])


def test_the_canonical_sample_by_hand(dataset):
    crops = Crops(dataset, (64, 64), 1.25, Augment().none(), 0)
    sample = crops[0]
    person = sample["person"]
    # A box of 50 x 50 around (45, 35), times 1.25, on 63 pixels: one pixel becomes 63 / 62.5.
    expected = (dataset.joints[person] - [45, 35]) * 63 / 62.5 + 31.5
    np.testing.assert_allclose(sample["joints"], expected, atol=1e-4)
    assert sample["weight"].tolist() == [1, 1, 1]
    assert sample["color_jitter"].tolist() == [1, 1, 1]
    assert sample["broken"] == 0
    assert {
        name: (v.shape, v.dtype.name) for name, v in sample.items() if name not in ("person", "broken")
    } == {
        "image": ((64, 64, 3), "uint8"),
        "joints": ((3, 2), "float32"),
        "weight": ((3,), "float32"),
        "color_jitter": ((3,), "float32"),
    }


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_image_and_joints_move_together(dataset, flip):
    """The white square is where the head is said to be, whatever the crop; and mirrored, the left hand is on
    the other side of it.
    """
    crops = Crops(dataset, (128, 128), 1.25, Augment(flip=flip), 1)
    for place in range(14):
        sample = crops[place]
        x, y = sample["joints"][0]
        assert sample["image"][round(float(y)), round(float(x))].min() == 255
        ys, xs = np.nonzero(sample["image"].min(-1) > 250)
        assert np.hypot(xs.mean() - x, ys.mean() - y) < 1
    if flip:
        sample, plain = Crops(dataset, (128, 128), 1.25, Augment().none(), 1)[0], None
        mirrored = Crops(dataset, (128, 128), 1.25, Augment(scale=0, rotation=0, flip=1), 1)[0]
        plain = sample["joints"] * [-1, 1] + [127, 0]
        np.testing.assert_allclose(mirrored["joints"], plain[[0, 2, 1]], atol=1e-4)
        np.testing.assert_allclose(
            mirrored["image"].astype(int), sample["image"][:, ::-1].astype(int), atol=4
        )


def test_labels_follow_the_swap(dataset):
    visible = dataset.visible.copy()
    visible[:, 1] = 0  # no left hand
    some = PoseDataset("some", BODY, dataset.images, dataset.boxes, dataset.joints, visible)
    assert Crops(some, (64, 64), 1.25, Augment(flip=1), 0)[0]["weight"].tolist() == [1, 1, 0]
    assert Crops(some, (64, 64), 1.25, Augment(flip=0), 0)[0]["weight"].tolist() == [1, 0, 1]


def test_an_unreadable_image_is_black_and_has_no_weight(tmp_path):
    dataset = crowd(tmp_path, 3)
    dataset.images[1].write_bytes(b"no image")
    dataset.images[2].unlink()
    crops = Crops(dataset, (64, 64), 1.25, AUGMENT, 0)
    samples = {crops.person(place): crops[place] for place in range(3)}
    assert [samples[i]["broken"] for i in range(3)] == [0, 1, 1]
    assert samples[0]["weight"].tolist() == [1, 1, 1]
    for i in (1, 2):
        assert samples[i]["weight"].tolist() == [0, 0, 0]
    plain = Crops(dataset, (64, 64), 1.25, Augment(), 0)
    black = next(plain[place] for place in range(3) if plain.person(place) == 1)
    assert not black["image"].any()


def test_pseudo_labels_come_with_the_sample_in_its_crop(dataset):
    class Said:
        source = "said"

        def sample(self, person, crop):
            assert isinstance(crop, Crop)
            return {"teacher_xy": crop.apply(np.array([[45.0, 35.0]])), "teacher_weight": np.array([person])}

    sample = Crops(dataset, (64, 64), 1.25, AUGMENT, 0, Said())[4]
    assert sample["teacher_weight"] == [sample["person"]]
    plain = Crops(dataset, (64, 64), 1.25, AUGMENT, 0)[4]
    assert_same(
        plain, {name: value for name, value in sample.items() if not name.startswith("teacher_")}
    )  # pseudo-labels change no draw


def test_an_empty_dataset_cannot_be_trained_on(dataset):
    with pytest.raises(ValueError, match="crowd: has no sample to train on"):
        Crops(dataset[:0], (64, 64), 1.25, AUGMENT, 0)


def test_images_come_from_the_given_reader(dataset):
    """A reader of one's own, such as one that keeps them, is asked once a sample; what it cannot read is
    broken like any other.
    """
    asked = []

    def read(path):
        asked.append(path)
        if path == dataset.images[2]:
            raise FileNotFoundError(path)
        return np.full((80, 100, 3), (10, 20, 30), np.uint8)

    plain = Augment(color_jitter=0, occlusion=0)
    samples = [Crops(dataset, (64, 64), 1.0, plain, 0, read=read)[place] for place in range(len(dataset))]
    assert sorted(asked) == sorted(dataset.images)
    for sample in samples:
        broken = sample["person"] == 2
        assert sample["broken"] == broken
        assert sample["image"][32, 32].tolist() == ([0, 0, 0] if broken else [10, 20, 30])
        assert sample["weight"].any() != broken


def is_3d(dataset):
    """The crowd with places in space: the head is the root's place, halfway between two hips there are none,
    so a skeleton with a pelvis.
    """
    skeleton = Skeleton("body", ("pelvis", "left_hand", "right_hand"), (0, 0, 0))
    xyz = np.tile(
        np.array([[0.1, 0.2, 3.0], [0.4, 0.3, 3.2], [-0.2, 0.1, 2.9]], np.float32), (len(dataset), 1, 1)
    )
    return replace(dataset, skeleton=skeleton, joints_3d=xyz)


def test_places_are_told_from_the_root_as_the_crop_shows_them(dataset):
    found = is_3d(dataset)
    still = Crops(found, (64, 64), 1.25, AUGMENT.none(), 0)[0]
    np.testing.assert_allclose(still["xyz"], [[0, 0, 0], [0.3, 0.1, 0.2], [-0.3, -0.1, -0.1]], atol=1e-6)
    assert still["xyz_weight"].tolist() == [1, 1, 1]

    class Turned(Augment):
        def crop(self, box, *rest):
            return Crop.from_box(box, (64, 64), 1.25, rotation=90, scale=1.3, flip=True)

    turned = Crops(found, (64, 64), 1.25, Turned(flip=1), 0)[0]
    # A quarter turn clockwise takes right (x) to down (y) and down to left, mirroring takes left to right;
    # then left and right hands are swapped.
    np.testing.assert_allclose(turned["xyz"], [[0, 0, 0], [-0.1, -0.3, -0.1], [0.1, 0.3, 0.2]], atol=1e-6)


def test_who_has_no_place_weighs_nothing(dataset):
    found = is_3d(dataset)
    some = found.joints_3d.copy()
    some[0, 1] = 0  # a hand unknown
    some[1, 0] = 0  # the root unknown
    confidence_3d = np.full((len(dataset), 3), 0.5, np.float32)
    crops = Crops(
        replace(found, joints_3d=some, confidence_3d=confidence_3d), (64, 64), 1.25, AUGMENT.none(), 0
    )
    by_person = {sample["person"]: sample for sample in (crops[i] for i in range(len(dataset)))}
    assert by_person[0]["xyz_weight"].tolist() == [0.5, 0, 0.5]
    assert by_person[1]["xyz_weight"].tolist() == [0, 0, 0]
    assert (by_person[1]["xyz"] == 0).all()
    assert "xyz" not in Crops(dataset, (64, 64), 1.25, AUGMENT, 0)[0]


def test_sets_with_and_without_places_are_one_set(dataset):
    found = is_3d(dataset)
    both = join(
        found,
        replace(dataset, skeleton=found.skeleton),
        replace(found, confidence_3d=np.full((len(dataset), 3), 0.25, np.float32)),
    )
    n = len(dataset)
    assert both.is_3d
    assert not dataset.is_3d
    assert (both.joints_3d[n : 2 * n] == 0).all()
    assert (both.joints_3d[2 * n :] == found.joints_3d).all()
    assert both.confidence_3d[[0, n, 2 * n], 0].tolist() == [1, 1, 0.25]
    assert join(dataset, dataset).joints_3d is None
