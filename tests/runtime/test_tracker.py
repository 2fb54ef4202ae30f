"""Identities and crops over time, with a network that sees what the test puts before it."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from poseling import zoo
from poseling.data import sets
from poseling.geometry import iou
from poseling.pose import Pose
from poseling.runtime import Network
from poseling.runtime.region import region
from poseling.runtime.tracker import EVERY, LOST, MOMENTUM, Tracker, assigned, associate, similarity
from poseling.runtime.video import frames
from poseling.skeleton import BLAZEPOSE33, COCO17, MOVNECT15
from poseling.spec import PoseSpec

K = len(MOVNECT15)
SIZE = (640, 480)
WALL = np.full((SIZE[1], SIZE[0], 3), 90, np.uint8)
ROOT = MOVNECT15.index("pelvis")
WRIST = MOVNECT15.index("left_wrist")
# A person of 80 x 200 pixels with the pelvis at (0, 0); the joints lie apart.
BODY = np.stack(
    [np.linspace(-40, 40, K), np.linspace(-100, 100, K)[np.random.default_rng(0).permutation(K)]], -1
)
BODY -= BODY[ROOT]


class Scene:
    """A network that finds, in each box, the person nearest to the middle of what it is shown, if there is
    one, and else answers with a low score.
    """

    def __init__(self, *people: np.ndarray, outputs: tuple[str, ...] = ("xy", "score", "xyz")) -> None:
        self.spec = PoseSpec("fake", MOVNECT15, {"name": "fake"}, (64, 64), padding=1.25, outputs=outputs)
        self.people = [np.asarray(p, float) for p in people]
        self.score = np.ones(K)
        self.seen: list[np.ndarray] = []  # the regions of every call
        self.broken: dict[int, float] = {}  # joints and what is said instead of them

    def __call__(self, image, boxes=None) -> Pose:
        boxes = np.asarray(boxes, float)
        height, width = image.shape[:2]
        if ((boxes[:, 2:] < -0.5) | (boxes[:, :2] > (width - 0.5, height - 0.5))).any():
            raise ValueError("a box is outside the image")  # as `Network` says it
        middle, half = (
            (boxes[:, :2] + boxes[:, 2:]) / 2,
            self.spec.padding * (boxes[:, 2:] - boxes[:, :2]) / 2,
        )
        self.seen.append(np.concatenate([middle - half, middle + half], -1))
        xy, score = np.tile(middle[:, None], (1, K, 1)), np.full((len(boxes), K), 0.01)
        for row in range(len(boxes)):
            inside = [p for p in self.people if (np.abs(p.mean(0) - middle[row]) <= half[row]).all()]
            if inside:
                xy[row] = min(inside, key=lambda p: np.linalg.norm(p.mean(0) - middle[row]))
                score[row] = self.score
        xyz = np.concatenate([(xy - xy[:, ROOT : ROOT + 1]) / 100, np.zeros((len(boxes), K, 1))], -1)
        for joint, value in self.broken.items():
            xy[:, joint], xyz[:, joint] = value, value
        return Pose(xy, score, MOVNECT15, xyz if "xyz" in self.spec.outputs else None)


def whole(pose: Pose) -> Pose:
    """The pose, after it was found to hold numbers alone."""
    assert all(np.isfinite(a).all() for a in (pose.xy, pose.score, pose.xyz))
    assert ((pose.score >= 0) & (pose.score <= 1)).all()
    return pose


def test_a_person_is_found_in_the_whole_frame_cropped_closer_and_tracked():
    scene = Scene(BODY + (300, 240))
    track = Tracker(scene)
    pose = whole(track(WALL, 0.0))
    assert pose.ids.tolist() == [0]
    np.testing.assert_allclose(scene.seen[0], [[0, 0, 639, 479]], atol=1e-9)
    # VNect's rule: a box of 80 x 200, four tenths wider and two higher, with the root in its middle as far as
    # all joints stay in (16 pixels).
    low, high = scene.people[0].min(0), scene.people[0].max(0)
    middle = (low + high) / 2 + (np.clip(300 - (low + high)[0] / 2, -16, 16), 0)
    wanted = np.concatenate([middle - (56, 120), middle + (56, 120)])
    np.testing.assert_allclose(scene.seen[1], [wanted])
    scene.people = [scene.people[0] + (20, 0)]
    track(WALL, 1 / 30)
    np.testing.assert_allclose(scene.seen[2], [wanted])
    track(WALL, 2 / 30)
    np.testing.assert_allclose(
        scene.seen[3], [MOMENTUM * wanted + (1 - MOMENTUM) * (wanted + (20, 0, 20, 0))], rtol=1e-6
    )
    # At 5 frames a second it is the same momentum in time.
    track(WALL, 2 / 30 + 0.2)
    rest = MOMENTUM ** (1 + 1 + 6)
    np.testing.assert_allclose(
        track._people[0].region, rest * wanted + (1 - rest) * (wanted + (20, 0, 20, 0)), rtol=1e-6
    )


def test_the_crop_never_loses_a_joint_of_the_last_frame():
    scene = Scene(BODY + (100, 240))
    track = Tracker(scene)
    for i in range(12):
        scene.people = [BODY + (100 + 35 * i, 240)]
        assert track(WALL, i / 30).ids.tolist() == [0]
        x0, y0, x1, y1 = track._people[0].region
        assert (scene.people[0] >= (x0, y0)).all()
        assert (scene.people[0] <= (x1, y1)).all()


@pytest.mark.parametrize("what", ["unsure", "nan", "inf", "huge"])
def test_a_joint_lost_for_ten_frames_stays_on_the_person(what: str):
    scene = Scene(BODY + (100, 240))
    track = Tracker(scene)
    for i in range(30):
        scene.people = [BODY + (100 + 5 * i, 240)]
        lost = 10 <= i < 20
        scene.score = np.ones(K)
        scene.broken = {}
        if lost:
            scene.broken = {WRIST: {"unsure": 7.0, "nan": np.nan, "inf": np.inf, "huge": 1e30}[what]}
            scene.score[WRIST] = 0.02 if what == "unsure" else 1.0
        pose = whole(track(WALL, i / 30))
        assert pose.ids.tolist() == [0]
        np.testing.assert_allclose(
            pose.xy[0], scene.people[0], atol=1e-3
        )  # the body moves as one, and so does the lost joint
        np.testing.assert_allclose(pose.xyz[0, :, :2], BODY / 100, atol=1e-5)
        assert pose.score[0, WRIST] == pytest.approx(0.02 if lost and what == "unsure" else 0 if lost else 1)


def test_a_joint_that_was_never_known_lies_in_the_middle_of_the_crop():
    scene = Scene(BODY + (300, 240))
    scene.broken = {WRIST: np.nan}
    pose = whole(Tracker(scene)(WALL, 0.0))
    x0, y0, x1, y1 = scene.seen[-1][0]
    np.testing.assert_allclose(pose.xy[0, WRIST], ((x0 + x1) / 2, (y0 + y1) / 2), rtol=1e-5)
    assert pose.xyz[0, WRIST].tolist() == [0, 0, 0]
    assert pose.score[0, WRIST] == 0


def leave(track: Tracker, scene: Scene, seconds: float, back: np.ndarray) -> list[list[int]]:
    """The ids of every frame while a person is there for ten frames, away for some time, and back for ten
    frames.
    """
    scene.people, ids = [BODY + (300, 240)], []
    away = round(30 * seconds)
    for i in range(20 + away):
        scene.people = [BODY + (300, 240)] if i < 10 else [] if i < 10 + away else [back]
        ids.append(whole(track(WALL, i / 30)).ids.tolist())
    return ids


@pytest.mark.parametrize(
    ("seconds", "back", "after"),
    [
        (0.1, BODY + (320, 240), 0),
        (0.8, BODY + (380, 250), 0),
        (0.5, BODY + (30 + 40, 240), 1),
        (3.0, BODY + (300, 240), 1),
        (0.5, 0.4 * BODY + (300, 240), 1),
    ],
    ids=["soon", "near", "elsewhere", "late", "smaller"],
)
def test_who_leaves_and_comes_back_is_the_same_or_honestly_new(seconds: float, back: np.ndarray, after: int):
    scene = Scene()
    ids = leave(Tracker(scene), scene, seconds, back)
    away = round(30 * seconds)
    assert ids[:10] == [[0]] * 10
    assert ids[10 : 10 + away] == [[]] * away
    assert ids[-7:] == [[after]] * 7  # found by the third of the places that are searched


def test_a_lost_person_is_searched_wider_everywhere_and_in_the_last_place():
    scene = Scene(BODY + (300, 240))
    track = Tracker(scene)
    track(WALL, 0.0)
    region = track._people[0].region.copy()
    scene.people, scene.seen = [], []
    for i in range(1, 6):
        pose = track(WALL, i / 30)
        assert (pose.xy.shape, pose.score.shape, pose.xyz.shape, pose.ids.tolist()) == (
            (0, K, 2),
            (0, K),
            (0, K, 3),
            [],
        )
    half = (region[2:] - region[:2]) / 2
    wider = region + np.concatenate([-half, half])
    np.testing.assert_allclose(
        np.concatenate(scene.seen), [region, wider, (0, 0, 639, 479), region, wider], atol=1e-9
    )


def test_who_walks_out_of_the_image_is_gone():
    scene = Scene(BODY + (500, 240))
    track = Tracker(scene)
    ids = []
    for i in range(40):
        scene.people = [BODY + (500 + 8 * i, 240)]
        ids.append(whole(track(WALL, i / 30)).ids.tolist())
    assert ids[0] == [0]
    assert ids[-1] == []


@pytest.mark.parametrize("detects", [False, True])
@pytest.mark.parametrize("way", [(1, 0), (-1, 0), (0, 1), (0, -1), (1, 1)])
@pytest.mark.parametrize("speed", [4, 15, 60])
def test_who_leaves_fast_is_searched_for_at_the_border(way: tuple[int, int], speed: int, detects: bool):
    """At any speed in pixels a frame: where a lost person should have gone lies outside the image soon."""
    scene = Scene(BODY + (320, 240))
    detector = Found(scene) if detects else None
    track = Tracker(scene, detector=detector)
    for i in range(200):
        scene.people = [BODY + (320, 240) + speed * i * np.array(way)]
        pose = whole(track(WALL, i / 30))
    assert len(pose) == 0


def test_a_cut_in_the_video_gives_new_ids():
    scene = Scene(BODY + (300, 240))
    track = Tracker(scene)
    noise = np.random.default_rng(0)
    here, there = (
        np.kron(noise.integers(low, low + 90, (6, 8, 3)), np.ones((80, 80, 1))).astype(np.uint8)
        for low in (0, 160)
    )
    ids = []
    for i in range(10):
        # The person after the cut stands where the one before stood.
        grain = noise.integers(-6, 7, here.shape)
        image = np.clip((here if i < 5 else there) + grain, 0, 255).astype(np.uint8)
        ids += track(image, i / 30).ids.tolist()
    assert ids == [0] * 5 + [1] * 5


def test_an_image_of_another_size_gives_new_ids():
    """A phone that is turned: where someone was says nothing in the other image, and may lie outside of it."""
    scene = Scene(BODY + (500, 240))
    track = Tracker(scene)
    assert whole(track(WALL, 0.0)).ids.tolist() == [0]
    scene.people = [0.1 * BODY + (30, 20)]
    assert whole(track(WALL[:48, :64], 1 / 30)).ids.tolist() == [1]
    np.testing.assert_allclose(scene.seen[-2], [[0, 0, 63, 47]], atol=1e-9)


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1)])
def test_an_image_of_one_pixel_is_run(size: tuple[int, int]):
    scene = Scene()
    for i in range(4):
        assert len(Tracker(scene)(np.zeros((*size, 3), np.uint8), i / 30)) == 0
    assert all((seen[:, 2:] > seen[:, :2]).all() for seen in scene.seen)


def test_changing_light_is_not_a_cut():
    scene = Scene(BODY + (300, 240))
    track = Tracker(scene)
    noise = np.random.default_rng(0)
    room = np.kron(noise.integers(40, 120, (6, 8, 3)), np.ones((80, 80, 1))).astype(np.uint8)
    ids = [
        track(image, i / 30).ids.tolist() for i, image in enumerate([room, room + 80, room, room // 2, room])
    ]
    assert ids == [[0]] * 5


@pytest.mark.parametrize(("jump", "after"), [(95, 0), (105, 1)])
def test_when_all_joints_jump_the_id_is_new(jump: int, after: int):
    """The upper half goes down and the lower one up by nearly, or just over, half of the person's 200 pixels,
    all at the same place.
    """
    scene = Scene(BODY + (300, 240))
    track = Tracker(scene)
    track(WALL, 0.0)
    upper = BODY[:, 1] < np.median(BODY[:, 1])
    scene.people = [scene.people[0] + np.stack([np.zeros(K), np.where(upper, jump, -jump)], -1)]
    assert [whole(track(WALL, i / 30)).ids.tolist() for i in range(1, 4)] == [[after]] * 3


def test_nan_from_the_network_for_some_frames():
    scene = Scene(BODY + (300, 240))
    track = Tracker(scene)
    ids = []
    for i in range(30):
        scene.broken = dict.fromkeys(range(K), np.nan) if 10 <= i < 20 else {}
        scene.score = np.full(K, np.nan) if 15 <= i < 20 else np.ones(K)
        ids.append(whole(track(WALL, i / 30)).ids.tolist())
    assert ids == [[0]] * 10 + [[]] * 10 + [[0]] * 10


# Joints where a standing person has them, for clothes: shoulders, hips and knees, the rest in between.
STANDING = np.array(
    [
        {
            "left_shoulder": (30, -80), "right_shoulder": (-30, -80), "left_hip": (25, 0), "right_hip": (-25, 0),
            "left_knee": (27, 70), "right_knee": (-27, 70), "head_top": (0, -120), "left_ankle": (27, 130),
            "right_ankle": (-27, 130),
        }.get(joint, (5, -40))
        for joint in MOVNECT15.joints
    ],
    float,
)  # fmt: skip
RED, GREEN, NAVY, WHITE = (40, 40, 200), (60, 160, 40), (90, 40, 20), (235, 235, 235)


def painted(*people: tuple[np.ndarray, tuple[int, ...], tuple[int, ...]]) -> np.ndarray:
    """People (K, 2) in clothes of two colours before the wall, the later ones in front."""
    image = WALL.copy()
    for xy, trunk, legs in people:
        x, y = (int(v) for v in xy[ROOT] - STANDING[ROOT])
        cv2.rectangle(image, (x - 32, y - 120), (x + 32, y + 5), trunk, -1)
        cv2.rectangle(image, (x - 32, y + 6), (x + 32, y + 130), legs, -1)
    return image


@pytest.mark.parametrize(("clothes", "after"), [((RED, NAVY), 0), ((GREEN, WHITE), 1)])
def test_who_comes_back_in_the_same_clothes_is_the_same(clothes, after: int):
    there, elsewhere = STANDING + (150, 250), STANDING + (480, 260)
    scene = Scene(there)
    track = Tracker(scene)
    for i in range(30):
        assert whole(track(painted((there, RED, NAVY)), i / 30)).ids.tolist() == [0]
    scene.people = []
    for i in range(30, 150):  # four seconds, three more than a place is remembered for
        assert whole(track(WALL, i / 30)).ids.tolist() == []
    scene.people = [elsewhere]
    ids = [whole(track(painted((elsewhere, *clothes)), i / 30)).ids.tolist() for i in range(150, 170)]
    assert ids == [[after]] * 20


def test_two_who_changed_places_while_hidden_are_exchanged():
    left, right = STANDING + (200, 250), STANDING + (330, 250)
    scene = Scene(left, right)
    track = Tracker(scene)
    boxes = [(*p.min(0), *p.max(0)) for p in scene.people]
    image = painted((left, RED, NAVY), (right, GREEN, WHITE))
    for i in range(40):
        assert whole(track(image, i / 30, boxes if i == 0 else None)).ids.tolist() == [0, 1]
    scene.people = []
    for i in range(40, 55):
        assert whole(track(WALL, i / 30)).ids.tolist() == []
    # Each stands where the other one did.
    scene.people = [left, right]
    image = painted((right, RED, NAVY), (left, GREEN, WHITE))
    for i in range(55, 90):
        pose = whole(track(image, i / 30))
    assert pose.ids.tolist() == [0, 1]
    np.testing.assert_allclose(pose.xy, [right, left], atol=1)


@pytest.mark.parametrize("seen", [5, 30], ids=["part of another", "somebody new"])
def test_who_appears_on_another_person_has_no_id_before_it_is_sure(seen: int):
    """Somebody beside the first one, whose box overlaps: 0.4 s are 13 frames of 1/32 s. For five it is nobody."""
    first, second = STANDING + (200, 250), STANDING + (245, 262)
    scene = Scene(first)
    track, ids = Tracker(scene), []
    box = [(*second.min(0), *second.max(0))]
    for i in range(60):
        scene.people = [first, second] if 10 <= i < 10 + seen else [first]
        ids.append(whole(track(WALL, i / 32, box if i == 10 else None)).ids.tolist())
    here = range(23, 10 + seen)
    assert ids == [[0, 1] if i in here else [0] for i in range(60)]


def test_a_lost_person_behind_others_clothes_is_known_when_they_are_seen():
    """It comes back with the colours of whoever hides it, for five frames, and then with its own."""
    other, there, back = STANDING + (500, 250), STANDING + (200, 250), STANDING + (230, 250)
    scene = Scene(other, there)
    track, ids = Tracker(scene), []
    boxes = [(*p.min(0), *p.max(0)) for p in (other, there)]
    for i in range(60):
        scene.people = [other, *([there] if i < 30 else [back] if i >= 40 else [])]
        clothes = (GREEN, WHITE) if 40 <= i < 45 else (RED, NAVY)
        image = painted((other, WHITE, WHITE), *((p, *clothes) for p in scene.people[1:]))
        ids.append(whole(track(image, i / 30, None if i else boxes)).ids.tolist())
    assert ids == [[0, 1]] * 30 + [[0]] * 15 + [[0, 1]] * 15


def test_two_people_keep_their_ids_while_they_pass_each_other():
    scene = Scene(BODY + (100, 240), BODY + (500, 240))
    track = Tracker(scene)
    boxes = [(*(p.min(0)), *(p.max(0))) for p in scene.people]
    for i in range(60):
        scene.people = [BODY + (100 + 7 * i, 170), 0.9 * BODY + (500 - 7 * i, 290)]
        pose = whole(track(WALL, i / 30, boxes if i == 0 else None))
    assert pose.ids.tolist() == [0, 1]
    np.testing.assert_allclose(pose.xy, scene.people, atol=1e-3)


def test_a_box_around_a_tracked_person_starts_no_new_one():
    scene = Scene(BODY + (100, 240), BODY + (500, 240))
    track = Tracker(scene)
    boxes = np.array([(*(p.min(0)), *(p.max(0))) for p in scene.people])
    assert track(WALL, 0.0, boxes[:1]).ids.tolist() == [0]
    np.testing.assert_allclose(
        scene.seen[0], [[*(boxes[0, :2] - (10, 25)), *(boxes[0, 2:] + (10, 25))]]
    )  # as Network does with a box
    assert track(WALL, 1 / 30, boxes + 3).ids.tolist() == [0, 1]
    assert track(WALL, 2 / 30, boxes - 3).ids.tolist() == [0, 1]
    assert track(WALL, 3 / 30, []).ids.tolist() == [0, 1]


def test_two_crops_that_show_one_person_are_one_person():
    """The right one leaves; the search for it finds the left one, who stays who he is, and is not there
    twice.
    """
    scene = Scene(BODY + (100, 240), BODY + (500, 240))
    track = Tracker(scene)
    assert track(WALL, 0.0, [(*(p.min(0)), *(p.max(0))) for p in scene.people]).ids.tolist() == [0, 1]
    scene.people = [BODY + (120, 240)]
    assert [track(WALL, i / 30).ids.tolist() for i in range(1, 60)] == [[0]] * 59


def test_no_person_at_all():
    track = Tracker(Scene(outputs=("xy", "score")))
    pose = track(WALL, 0.0)
    assert (pose.xy.shape, pose.xyz) == ((0, K, 2), None)


wild = st.floats(width=32) | st.sampled_from([0.0, 100.0, 300.0, 320.0])


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_any_network_output_gives_no_nan_and_no_crash(data):
    class Mad(Scene):
        def __call__(self, image, boxes=None):
            count = len(np.asarray(boxes))
            assert np.isfinite(boxes).all()
            assert (np.asarray(boxes)[:, 2:] > np.asarray(boxes)[:, :2]).all()
            seed = data.draw(st.integers(0, 2**32 - 1))
            noise = np.random.default_rng(seed)
            pool = np.array([data.draw(wild) for _ in range(4)] + [310.0, 250.0])
            with np.errstate(all="ignore"):
                answers = [noise.choice(pool, (count, K, d)).astype(np.float32) for d in (2, 3)]
                score = noise.choice(np.float32([*pool[:2], 0.5, 1.0]), (count, K))
            return Pose(answers[0], score, MOVNECT15, answers[1])

    track, last = Tracker(Mad()), -1
    for i in range(6):
        pose = whole(track(WALL, data.draw(st.sampled_from([i / 30, i * 0.4, 0.0]))))
        new = [person for person in pose.ids.tolist() if person > last]
        last = max([last, *new])
        assert len(set(pose.ids.tolist())) == len(pose)


def test_boxes_and_poses_that_are_alike():
    a = np.array([[0.0, 0, 10, 10], [20, 0, 30, 10]])
    np.testing.assert_allclose(
        iou(a, np.array([[5.0, 0, 15, 10], [20, 0, 30, 10], [3, 3, 3, 3]])), [[1 / 3, 0, 0], [0, 1, 0]]
    )
    assert associate(a, a[:0], 0.3) == []
    assert associate(a, np.array([[9.0, 0, 19, 10]]), 0.3) == []
    sure = np.ones(K, bool)
    assert similarity(BODY, BODY, sure) == 1
    # A shift of a tenth of the size along x and y: exp(-(0.1^2 + 0.1^2) / (2 0.1^2)) = exp(-1).
    side = np.ptp(BODY, axis=0).max()
    assert similarity(BODY, BODY + 0.1 * side, sure) == pytest.approx(np.exp(-1))
    assert similarity(BODY, BODY, ~sure) == 0
    assert LOST > 0.01


def test_low_scores_do_not_find_and_lose_a_person_in_turn():
    scene = Scene(BODY + (300, 240))
    track = Tracker(scene)
    found = []
    for frame in range(40):
        scene.score = np.full(
            K, 0.24 if frame % 4 == 0 else 0.15
        )  # about the threshold of 0.2, mostly below it
        found.append(track(WALL, frame / 5).ids.tolist())
    assert found == [[0]] * 40
    assert len(scene.seen) == 41  # one look a frame, and the second of the first


def test_a_small_person_is_cropped_closer_before_being_refused():
    scene = Scene(BODY + (300, 240))
    near = Scene.__call__

    def far_and_near(image, boxes=None):
        scene.score = np.full(K, 0.12 if boxes[0][2] - boxes[0][0] > 300 else 0.6)
        return near(scene, image, boxes)

    far_and_near.spec = scene.spec
    assert Tracker(far_and_near)(WALL, 0.0).ids.tolist() == [0]
    scene.people = []
    empty = Tracker(far_and_near)
    assert len(empty(WALL, 0.0)) == 0
    assert empty.refused == pytest.approx(0.01)


def test_a_person_who_has_left_is_not_kept():
    scene = Scene(BODY + (300, 240))
    track = Tracker(scene)
    for frame in range(5):
        assert track(WALL, frame / 5).ids.tolist() == [0]
    scene.score = np.full(K, 0.19)  # as much as an uncertain network's person, but this one had a score of 1
    assert len(track(WALL, 1.0)) == 0


def test_a_person_too_small_for_the_whole_frame_is_found_within_nine_frames():
    scene = Scene(0.4 * BODY + (500, 400))
    near = Scene.__call__

    def short_sighted(image, boxes=None):
        pose = near(scene, image, boxes)
        far = np.array([box[2] - box[0] for box in boxes]) * scene.spec.padding > 400
        return Pose(pose.xy, np.where(far[:, None], 0.05, pose.score), pose.skeleton, pose.xyz)

    short_sighted.spec = scene.spec
    track = Tracker(short_sighted)
    found = [len(track(WALL, frame / 30)) for frame in range(12)]
    assert found[-1] == 1
    assert found == sorted(found)
    looks = len(scene.seen)
    track(WALL, 12 / 30)
    assert len(scene.seen) == looks + 1  # who is followed costs one look


class Found:
    """A detector that finds the people of a scene, but nobody in the frames `blind`; `frames` are those in
    which it was asked.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene, self.now, self.blind = scene, 0, set[int]()
        self.frames: list[int] = []

    def __call__(self, image, colour="rgb") -> np.ndarray:
        assert colour == "bgr"
        self.frames.append(self.now)
        people = [] if self.now in self.blind else self.scene.people
        rows = np.array([(*p.min(0), *p.max(0), 0.9) for p in people], np.float32).reshape(-1, 5)
        end = image.shape[1], image.shape[0]
        rows[:, :4] = np.clip(rows[:, :4], -0.5, np.float32([*end, *end]) - 0.5)  # as `Detector`
        return rows[(rows[:, 2:4] > rows[:, :2]).all(1)]


@pytest.mark.parametrize(("every", "asked"), [(0, [0]), (10, [0, 10, 20])])
def test_a_detector_finds_everybody_and_runs_again_every_few_frames(every: int, asked: list[int]):
    scene = Scene(BODY + (100, 240), BODY + (300, 240), BODY + (500, 240))
    detector = Found(scene)
    track = Tracker(scene, detector=detector, every=every)
    for detector.now in range(25):
        assert whole(track(WALL, detector.now / 30)).ids.tolist() == [0, 1, 2]
    assert detector.frames == asked
    assert len(scene.seen) == 26  # all people of a frame in one call, and one more for the first
    assert all(len(regions) == 3 for regions in scene.seen)


def test_a_detector_that_finds_nobody_spares_the_network():
    scene = Scene()
    detector = Found(scene)
    track = Tracker(scene, detector=detector, every=100)
    for detector.now in range(10):
        assert len(track(WALL, detector.now / 30)) == 0
    assert detector.frames == list(range(0, 10, EVERY))
    assert scene.seen == []
    scene.people = [BODY + (300, 240)]
    for detector.now in range(10, 13):
        pose = track(WALL, detector.now / 30)
    assert pose.ids.tolist() == [0]
    # What the network does not take for a person, a poster, does not keep the detector busy either.
    scene.score, detector.frames = np.full(K, 0.01), []
    track = Tracker(scene, detector=detector, every=100)
    for detector.now in range(10):
        assert len(track(WALL, detector.now / 30)) == 0
    assert detector.frames == list(range(0, 10, EVERY))
    with pytest.raises(ValueError, match="every is -1"):
        Tracker(scene, detector=detector, every=-1)


def test_who_walks_on_while_hidden_keeps_the_id():
    """Ten frames at a third of the own width each: the boxes before and after do not overlap."""
    scene = Scene(BODY + (60, 240))
    detector = Found(scene)
    track, ids = Tracker(scene, detector=detector), []
    for detector.now in range(40):
        scene.people = [] if 20 <= detector.now < 30 else [BODY + (60 + 12 * detector.now, 240)]
        ids.append(whole(track(WALL, detector.now / 30)).ids.tolist())
    assert ids[:20] == [[0]] * 20
    assert ids[20:30] == [[]] * 10
    assert ids[-6:] == [[0]] * 6


def test_a_crop_that_shows_somebody_else_hands_no_id_over():
    """The tall one is not found for a frame in which the short one, who stands beside, is found twice."""
    tall, short = 1.5 * BODY + (300, 240), 0.9 * BODY + (340, 240)
    scene = Scene(tall, short)
    track = Tracker(scene)
    track(WALL, 0.0, [(*p.min(0), *p.max(0)) for p in scene.people])
    ids = []
    for i in range(1, 12):
        scene.people = [short] if i == 5 else [tall, short]
        pose = whole(track(WALL, i / 30))
        ids.append({person: float(np.ptp(xy[:, 1])) for person, xy in zip(pose.ids, pose.xy, strict=True)})
    for i, found in enumerate(ids, start=1):
        assert found[1] == pytest.approx(180, rel=1e-3)
        assert (0 in found) == (i != 5)
        assert found.get(0, 300) == pytest.approx(300, rel=1e-3)


@given(st.integers(0, 5), st.integers(0, 5), st.integers(0, 2**32 - 1))
def test_each_is_assigned_once_and_no_exchange_is_better(rows: int, columns: int, seed: int):
    cost = np.random.default_rng(seed).uniform(0, 1, (rows, columns))
    pairs = assigned(cost, 0.7)
    assert len({i for i, _ in pairs}) == len({j for _, j in pairs}) == len(pairs)
    assert all(cost[i, j] <= 0.7 for i, j in pairs)
    free = np.delete(np.delete(cost, [i for i, _ in pairs], 0), [j for _, j in pairs], 1)
    assert not (free <= 0.7).any()
    for i, j in pairs:
        for k, m in pairs:
            changed = cost[i, m] + cost[k, j]
            assert max(cost[i, m], cost[k, j]) > 0.7 or changed >= cost[i, j] + cost[k, m] - 1e-9


@pytest.mark.shared
@pytest.mark.parametrize("part", [1.0, 0.3])
def test_a_squatting_person_is_tracked_with_low_scores(shared: Path, part: float):
    """Of a network with a part of MoveNet's scores, whose means lie about the threshold, he was lost and
    found by turns: in 23 of the 65 frames he was there.
    """
    network = Network(shared / "peers" / "movenet-lightning.onnx", threads=1)
    calls = 0

    def unsure(image, boxes=None):
        nonlocal calls
        calls += 1
        pose = network(image, boxes)
        return Pose(pose.xy, part * pose.score, pose.skeleton)

    unsure.spec = network.spec
    track = Tracker(unsure)
    truth = np.array(json.loads((shared / "data" / "videos" / "pose_squats.full.json").read_text()))[..., :2]
    how = BLAZEPOSE33.to(COCO17)
    torso = np.linalg.norm(
        truth[:, BLAZEPOSE33.index("left_shoulder")] - truth[:, BLAZEPOSE33.index("right_hip")], axis=-1
    )
    right = []
    for index, seconds, image in frames(shared / "data" / "videos" / "pose_squats.mp4"):
        pose = track(image, seconds)
        assert pose.ids.tolist() == [0], f"frame {index}"
        right.append(np.linalg.norm(pose.xy[0] - how.joints(truth[index]), axis=-1) < 0.2 * torso[index])
    assert np.mean(right) > 0.97
    assert calls == 66  # he was never searched


@pytest.mark.shared
def test_a_crop_of_the_torso_alone_grows_to_the_person(shared: Path):
    """VNect's rule takes the next crop from the joints alone, so a network that draws joints together would
    never leave a torso. A trained one does.
    """
    people = sets.load("lsp", shared / "data").val
    assert people is not None
    network = Network(zoo.path("poseling3d-s"), threads=1)
    trunk = [
        people.skeleton.index(f"{side}_{joint}")
        for side in ("left", "right")
        for joint in ("shoulder", "hip")
    ]
    chosen = [i for i in range(0, len(people), 10) if people.visible[i, trunk].all()]
    assert len(chosen) > 10
    for i in chosen:
        image = cv2.imread(str(people.images[i]))

        def settled(box: NDArray[np.floating], image: NDArray[np.uint8] = image) -> NDArray[np.float64]:
            for _ in range(30):  # a second
                pose = network(image, boxes=box[None])
                following = region(pose.xy[0], pose.score[0] >= LOST / 2, network.spec.skeleton)
                box = MOMENTUM * box + (1 - MOMENTUM) * following
            return box

        torso = people.joints[i, trunk]
        ends = settled(np.concatenate([torso.min(0) - 3, torso.max(0) + 3])), settled(people.boxes[i])
        (low, high), (low2, high2) = (end.reshape(2, 2) for end in ends)
        both = np.prod(np.maximum(np.minimum(high, high2) - np.maximum(low, low2), 0))
        assert both / (np.prod(high - low) + np.prod(high2 - low2) - both) > 0.6, people.images[i]
