"""Tracking people through a video: the next crop from the last pose, ids, and recovery of lost people.

A person starts in a given box, or in one of a detector. Without either, while nobody is tracked, as the one
person that the network finds in the whole frame or, failing that, in one part of the frame after another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Literal, Protocol

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from poseling.geometry import iou, scaled_box, whole_box
from poseling.pose import Pose
from poseling.runtime.appearance import alike, colours, difference, middle, unlike
from poseling.runtime.region import region, windows
from poseling.runtime.smoothing import size
from poseling.spec import PoseSpec

Array = NDArray[np.float64]

# The next crop is a mean of `region` and the last one (Mehta et al., SIGGRAPH 2017, sec. 4). Its momentum is
# for 30 frames a second.
MOMENTUM, RATE = 0.75, 30.0

LOST = 0.2  # the mean score below which a person is lost, by default
# A person is kept from a third of its usual mean score on, limited to between half of LOST and LOST. So a
# confident network does not keep a person who has left, and a person whose scores are near the threshold is
# not found and lost in turn.
KEPT, LEAST = 0.33, 0.5
USUAL = 0.2  # weight of the last score in a person's usual score
# A joint with a score below this part of the person's threshold keeps its place relative to the person.
UNSURE = 0.5
# Joints that move by this part of the person's size in one frame, in the median, are another person's.
JUMP = 0.5
REACH = 1.0  # sizes: whoever is further away is not looked at
# Where people are near each other less is believed: this part in a frame and so much more a second, and a
# change of the size by this factor and so much more a second.
STEP, STEPS = 0.1, 3.0
GROWN, GROWTH = 1.3, 1.5
# A person found again is the same one up to this distance in sizes, with the same clothes up to FAR, and up to
# this ratio of sizes.
NEAR, FAR, ALIKE = 1.0, 3.0, 1.6
REMEMBERED = 1.0  # seconds for which a lost person is remembered
COASTED = 0.4  # seconds for which a lost person is expected to go on as before
PACE = 0.25  # weight of the last frame in a person's velocity
RECALLED = 15.0  # seconds for which a lost person is known again by the clothes
DRESS = 0.2  # sizes: what clothes of another colour weigh beside a distance
SURE = 0.7  # such differences up to which a new person is one who was lost long ago
WRONG = 2.0  # such differences, and whoever is there is not the one who was lost
LOOKED = 5  # frames between two looks at the clothes of a person who is alone
DOUBTS = 3  # looks in a row at other clothes than remembered, and the person may be another one
NEW = 3  # first looks at a person, who may turn out to be one who has come back
VIEWS = 9  # looks at a person's clothes that are remembered, and looks at others after which those are
DOUBTED = 0.4  # seconds for which a new person near others is followed before it is reported
EVERY = 3  # frames between two runs of the detector while somebody is lost, or nobody is there
# Poses of this similarity, or boxes of this intersection over union, are one person; LIKE of a pose that was
# not looked for in the place of a person who was there.
SAME, LIKE, OVERLAP = 0.7, 0.4, 0.3
# A cut: the colours differ (Bhattacharyya distance of the histograms) and so does the pattern of light and
# dark (correlation). This finds 94 % of the cuts between JHMDB's clips, and is wrong for 4 % of the frames
# half a second apart in one clip (docs/runtime.md).
COLOURS_DIFFER, PLACES_AGREE = 0.4, 0.5
PLAIN = (
    4.0  # standard deviation in grey levels: two images with less are both plain, whatever their brightness
)


class Looks(Protocol):
    """What a Tracker needs of a network; `Network` has it."""

    spec: PoseSpec

    def __call__(self, image: NDArray[np.uint8], boxes: ArrayLike | None = None) -> Pose: ...


class Detects(Protocol):
    """What a Tracker needs of a detector; `Detector` has it."""

    def __call__(
        self, image: NDArray[np.uint8], colour: Literal["bgr", "rgb"] = "rgb"
    ) -> NDArray[np.floating]: ...


@dataclass(eq=False)
class _Person:
    """A person when last seen, at `seen` seconds: joints (K, 2), which of them are `sure` (K,), xyz (K, 3) or
    None, the region x0, y0, x1, y1 of the next crop, the running mean `usual` of its scores, the velocity
    `pace` (2,) in pixels a second, the `views` of its clothes' colours while it was alone, with their median
    `dress`, and what they are `now`, if that was looked at. It is in doubt while `since` is not None: first
    seen then, in seconds, where somebody else is or was.
    """

    id: int
    region: Array
    xy: Array
    xyz: Array | None
    score: Array
    sure: NDArray[np.bool_]
    seen: float
    usual: float
    pace: Array = field(default_factory=lambda: np.zeros(2))
    missed: int = 0  # frames since
    views: list[Array] = field(default_factory=list)
    dress: Array | None = None
    now: Array | None = None
    doubts: int = 0
    since: float | None = None

    def gone(self, seconds: float) -> Array:
        """(2,) how far it should have gone since it was seen."""
        return self.pace * min(max(0.0, seconds - self.seen), COASTED)


class Tracker:
    """The people of a video, frame after frame, each with one id for as long as it is recognised.

    A person is searched around the last pose. A lost person (low score, left the image) is missing from the
    pose, and is searched in a wider crop, in the whole frame and in the last place in turn, all moved on as
    it went. If it is found near there within a second, it keeps its id; otherwise the person found gets a new
    one. The same holds after a cut in the video, or when all joints jump at once. Where people cross, and for
    `RECALLED` seconds after one was lost, the clothes' colours decide, if they tell these people apart
    (`runtime.appearance`): two who have changed places are exchanged, and who comes back has the old id.
    Otherwise ids count up. Somebody new where another person is, or one of several was lost, is followed for
    `DOUBTED` seconds before it is in the result: it may be half of the one, or the other come back. The result
    has no NaN: a joint that the network has not found, or gives as NaN, keeps its place relative to the person
    (the middle of the crop if it was never seen), with score 0 if it is NaN. A person is found from a mean score of `lost` on, and then kept from a third of its usual score on
    (`KEPT`). `refused` is the highest mean score that was too low.

    A `detector` runs in the first frame, every `EVERY` frames while somebody is lost or nobody is there, and
    every `every` frames whatever there is (0: no more often).
    """

    def __init__(
        self, network: Looks, lost: float = LOST, detector: Detects | None = None, every: int = 0
    ) -> None:
        if every < 0:
            raise ValueError(f"every is {every}; give a number of frames, 0 for only when it is needed")
        self.network, self._lost, self.refused = network, lost, 0.0
        self._detector, self._every, self._since = detector, every, EVERY
        self._people: list[_Person] = []
        self._gone: list[_Person] = []
        self._started = self._turn = self._frame = 0
        self._glance: tuple[tuple[int, ...], NDArray[np.floating], NDArray[np.floating]] | None = None

    def __call__(self, image: NDArray[np.uint8], seconds: float, found: ArrayLike | None = None) -> Pose:
        """The people in the image (H, W, 3) BGR at a time in seconds, by id; `found` (N, 4) are boxes that
        are known already, and the detector is then not asked.

        A box that overlaps no tracked person starts a new one. Errors as of `Network`.
        """
        self._frame += 1
        if self._cut(image):
            self._people, self._gone, self._turn, self._since = [], [], 0, EVERY
        whole = np.array(whole_box((image.shape[1], image.shape[0]), 1.0))
        boxes = self._boxes(image) if found is None else np.asarray(found, np.float64).reshape(-1, 4)
        taken, rest = self._matched(boxes, seconds)
        starts = [scaled_box(boxes[i], self.network.spec.padding) for i in rest]
        if not self._people and not starts:
            if self._detector is not None:
                return self._pose([])
            starts = [whole]
        regions = [
            taken[p.id] if p.id in taken else self._searched(p, seconds, whole) for p in self._people
        ] + starts
        wide = [p.missed > 0 for p in self._people] + [True] * len(starts)
        least = [self._least(p) for p in self._people] + [self._lost] * len(starts)
        answers = self._looked(image, regions, wide, least, whole)
        if self._detector is None and not self._people and not boxes.size and answers == [None]:
            parts = windows((image.shape[1], image.shape[0]))
            answers = self._looked(image, [np.array(parts[self._turn % len(parts)])], wide, least, whole)
            self._turn += 1
        self._followed(answers, seconds, whole, image)
        self._recognised(seconds, image)
        return self._pose([p for p in self._people if not p.missed and p.since is None])

    def _boxes(self, image: NDArray[np.uint8]) -> Array:
        """(N, 4) the detector's boxes, if it is its turn."""
        if self._detector is None:
            return np.zeros((0, 4))
        self._since += 1
        due = 0 < self._every <= self._since
        needed = any(p.missed % EVERY == 1 for p in self._people) if self._people else self._since >= EVERY
        if not (due or needed):
            return np.zeros((0, 4))
        self._since = 0
        return np.asarray(self._detector(image, "bgr"), np.float64)[:, :4]

    def _matched(self, boxes: Array, seconds: float) -> tuple[dict[int, Array], list[int]]:
        """Detected boxes of lost people, by id, as regions; and the indices of the boxes that match no
        person.
        """
        if not len(boxes):
            return {}, []
        last = np.array([_bounds(p.xy, p.sure) + np.tile(p.gone(seconds), 2) for p in self._people]).reshape(
            -1, 4
        )
        pairs = associate(last, boxes, OVERLAP)
        # A lost person may have come further than where its box would overlap.
        lost = [
            (_apart(last[i], boxes[j]), i, j)
            for i, p in enumerate(self._people)
            if p.missed and i not in {i for i, _ in pairs}
            for j in range(len(boxes))
            if j not in {j for _, j in pairs}
        ]
        for away, i, j in sorted(lost):
            if away <= NEAR and i not in {i for i, _ in pairs} and j not in {j for _, j in pairs}:
                pairs.append((i, j))
        regions = {
            self._people[i].id: scaled_box(boxes[j], self.network.spec.padding)
            for i, j in pairs
            if self._people[i].missed
        }
        return regions, [j for j in range(len(boxes)) if j not in {j for _, j in pairs}]

    def _least(self, person: _Person) -> float:
        """The mean score that keeps a person who was seen in the last frame; a lost one has to be found
        again.
        """
        return (
            self._lost
            if person.missed
            else float(np.clip(KEPT * person.usual, LEAST * self._lost, self._lost))
        )

    def _searched(self, person: _Person, seconds: float, whole: Array) -> Array:
        """The region to search: the last one, then in turn a wider one, the whole image, if no detector looks
        at it, and the last one again; those of a lost person where it should have gone.
        """
        if not person.missed:
            return person.region
        region = person.region + np.tile(person.gone(seconds), 2)
        # Who walked out of the image is searched for at its border.
        middle = (region[:2] + region[2:]) / 2
        region = region + np.tile(np.clip(middle, whole[:2], whole[2:]) - middle, 2)
        if person.missed % 3 == 1:
            return scaled_box(region, 2.0)
        return whole if person.missed % 3 == 2 and self._detector is None else region

    def _looked(
        self,
        image: NDArray[np.uint8],
        regions: list[Array],
        wide: list[bool],
        least: list[float],
        whole: Array,
    ) -> list[_Person | None]:
        """One prediction for each region, as people without an id, or None where no person is found; a wide
        region is run again in a closer crop.
        """
        far = [
            LEAST * enough if w else enough for w, enough in zip(wide, least, strict=True)
        ]  # a small person has a lower score
        people = self._asked(image, regions, far, whole)
        again = [i for i, person in enumerate(people) if wide[i] and person is not None]
        if not again:
            return people
        nearer = self._asked(
            image, [p.region for i in again if (p := people[i]) is not None], [least[i] for i in again], whole
        )
        for i, person in zip(again, nearer, strict=True):
            there = people[i]
            assert there is not None
            people[i] = person or (there if there.usual >= least[i] else None)
        return people

    def _asked(
        self, image: NDArray[np.uint8], regions: list[Array], least: list[float], whole: Array
    ) -> list[_Person | None]:
        # The network enlarges a box by its padding; the region is final.
        pose = self.network(
            image, np.stack([scaled_box(region, 1 / self.network.spec.padding) for region in regions])
        )
        pose = settled(pose, np.stack([(region[:2] + region[2:]) / 2 for region in regions]))
        people: list[_Person | None] = []
        for row in range(len(regions)):
            xy, score = pose.xy[row].astype(np.float64), pose.score[row].astype(np.float64)
            sure, mean = score >= UNSURE * least[row], float(score.mean())
            if mean < least[row] or sure.sum() < 2:
                self.refused = max(self.refused, mean)
                people.append(None)
                continue
            box = _bounds(xy, sure)
            middle = (box[:2] + box[2:]) / 2
            if not ((whole[:2] <= middle) & (middle <= whole[2:])).all():
                people.append(None)
                continue
            xyz = None if pose.xyz is None else pose.xyz[row].astype(np.float64)
            people.append(
                _Person(-1, region(xy, sure, self.network.spec.skeleton), xy, xyz, score, sure, 0.0, mean)
            )
        return people

    def _followed(
        self, answers: list[_Person | None], seconds: float, whole: Array, image: NDArray[np.uint8]
    ) -> None:
        """Updates the list of people: each is continued, lost, forgotten, or new."""
        before, found = self._people, _single(answers, self._people)
        # Whoever was there in the last frame comes first: nobody who is lost takes over another's place.
        here = [p for p in before if not p.missed]
        crowded = _crowded(here, before, found)
        near = [p if c else None for p, c in zip(here, crowded, strict=True)]
        moves = self._dressed(near, found, _moves(here, found, crowded, seconds), image)
        pairs = {here[i].id: found[j] for i, j in assigned(moves, 2 * JUMP + DRESS * WRONG)}
        # The lost are looked for among those left, and by their clothes among those in doubt.
        lost = [p for p in before if p.missed]
        doubted = {p.id: pairs[p.id] for p in here if p.since is not None and p.id in pairs}
        free = [new for new in found if new in doubted.values() or new not in pairs.values()]
        returns = self._dressed(lost, free, _returns(lost, free, seconds), image, NEAR)
        for i, j in zip(*np.nonzero(np.isfinite(returns)), strict=True):
            if free[j] in doubted.values() and not alike(lost[i].dress, free[j].now) < 1:
                returns[i, j] = np.inf
        returned = {lost[i].id: free[j] for i, j in assigned(returns, 2 * FAR)}
        known = {i for i, new in doubted.items() if new in returned.values()}
        pairs |= returned
        after, margin = [], (whole[2:] - whole[:2]) / 2
        lowest, highest = np.concatenate([whole[:2] - margin] * 2), np.concatenate([whole[2:] + margin] * 2)
        for last in (p for p in before if p.id not in known):
            if (new := pairs.get(last.id)) is not None:
                _continue(last, new, seconds)
            elif 0 <= seconds - last.seen <= (REMEMBERED if last.since is None else DOUBTED):
                last.missed += 1
                after.append(last)
            elif last.dress is not None:
                self._gone.append(last)
        for new in found:
            if new.id < 0:
                new.id = self._started
                self._started += 1
                new.since = seconds if _doubtful(new, before, seconds) else None
            elif new.since is not None and not 0 <= seconds - new.since < DOUBTED:
                new.since = None
            new.seen = seconds
            # With a confident but wrong network the region could grow without limit.
            new.region = np.minimum(np.maximum(new.region, lowest), highest)
            after.append(new)
        self._people = sorted(after, key=lambda person: person.id)

    def _dressed(
        self,
        people: Sequence[_Person | None],
        found: list[_Person],
        costs: Array,
        image: NDArray[np.uint8],
        near: float = np.inf,
    ) -> Array:
        """The costs (N, M) and what it weighs that clothes differ, up to `DRESS` times `WRONG`, where that is
        known and there is a choice. Infinite where no part is alike, for the lost where they differ by `WRONG`
        on the whole, and beyond `near` where not all is alike.
        """
        out, possible = costs.copy(), np.isfinite(costs)
        for i, j in zip(*np.nonzero(possible), strict=True):
            last, new, far = people[i], found[j], costs[i, j] > near
            if last is None:
                continue
            apart = least = np.nan
            if far or last.missed or possible[i].sum() + possible[:, j].sum() > 2:
                if new.now is None:
                    new.now = colours(image, new.xy, new.sure, self.network.spec.skeleton)
                apart, least = difference(last.dress, new.now), unlike(last.dress, new.now)
            if least >= WRONG or (last.missed and apart >= WRONG) or (far and alike(last.dress, new.now) > 1):
                out[i, j] = np.inf
            elif apart == apart:
                out[i, j] += DRESS * min(apart, WRONG)
        return out

    def _recognised(self, seconds: float, image: NDArray[np.uint8]) -> None:
        """Compares the clothes of people who are alone with what is remembered, and gives ids back."""
        here = [p for p in self._people if not p.missed]
        self._gone = [p for p in self._gone if 0 <= seconds - p.seen <= RECALLED]
        boxes = np.array([_bounds(p.xy, p.sure) for p in here]).reshape(-1, 4)
        alone = ((boxes[:, None, :2] < boxes[None, :, 2:]) & (boxes[:, None, 2:] > boxes[None, :, :2])).all(
            2
        ).sum(1) == 1
        for person in (p for p, free in zip(here, alone, strict=True) if free):
            if person.dress is not None and not person.doubts and (self._frame + person.id) % LOOKED:
                continue
            person.now = colours(image, person.xy, person.sure, self.network.spec.skeleton)
            apart = difference(person.dress, person.now)
            if person.now is None or (person.dress is not None and apart != apart):
                continue
            if person.dress is None or apart < 1:
                person.doubts = 0
                _look(person)
                if len(person.views) <= NEW:
                    self._recalled(person, here, [p for p in self._people if p.missed] + self._gone)
            else:
                person.doubts += 1
                if person.doubts >= DOUBTS:
                    others = [p for p in self._people if p is not person and (p.missed or p.doubts >= DOUBTS)]
                    self._exchanged(person, others + self._gone)
                if person.doubts >= VIEWS:  # it is the light, or was a bad first look
                    person.doubts, person.views = 0, []
                    _look(person)

    def _recalled(self, person: _Person, here: list[_Person], lost: list[_Person]) -> None:
        """Gives a new person the id of one of the lost whose clothes it wears, if nobody else here does."""
        known = sorted(
            (apart, i)
            for i, p in enumerate(lost)
            if (apart := alike(p.dress, person.dress)) < 1 and p.id < person.id
        )
        if not known or known[0][0] > SURE or (len(known) > 1 and known[1][0] < 2 * known[0][0]):
            return
        old = lost[known[0][1]]
        if any(difference(p.dress, old.dress) < 1 for p in here if p is not person):
            return
        person.id, person.since = old.id, None
        self._people = sorted((p for p in self._people if p is not old), key=lambda one: one.id)
        self._gone = [p for p in self._gone if p is not old]

    def _exchanged(self, person: _Person, others: list[_Person]) -> None:
        """Exchanges ids with the one of others whose clothes a doubted person wears."""
        own = difference(person.dress, person.now)
        for other in sorted(others, key=lambda p: difference(p.dress, person.now)):
            apart = difference(other.dress, person.now)
            if not apart < 1 or not apart < 0.5 * own:
                return
            if not other.missed and not difference(person.dress, other.now) < 1:
                continue
            if other in self._gone and not alike(other.dress, person.now) < SURE:
                continue
            for name in ("id", "views", "dress"):
                mine, theirs = getattr(person, name), getattr(other, name)
                setattr(person, name, theirs)
                setattr(other, name, mine)
            person.doubts = other.doubts = 0
            self._people.sort(key=lambda one: one.id)
            return

    def _cut(self, image: NDArray[np.uint8]) -> bool:
        """Whether this image and the last one show different scenes, or differ in size."""
        small = cv2.resize(image, (64, 48), interpolation=cv2.INTER_NEAREST)
        colours = np.sqrt(
            np.asarray(cv2.calcHist([small], [0, 1, 2], None, [6, 6, 6], [0, 256] * 3), np.float32).ravel()
            / (64 * 48)
        )
        grey = np.asarray(
            cv2.resize(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), (32, 24), interpolation=cv2.INTER_AREA),
            np.float32,
        )
        grey = grey - grey.mean()
        last, self._glance = self._glance, (image.shape, colours, grey)
        if last is None:
            return False
        if last[0] != image.shape:
            return True
        apart = np.sqrt(max(0.0, 1 - float(last[1] @ colours)))
        if apart <= COLOURS_DIFFER:
            return False
        strength = [float(np.linalg.norm(g)) for g in (last[2], grey)]
        if max(strength) < PLAIN * np.sqrt(grey.size):
            return False
        agree = float((last[2] * grey).sum()) / max(1e-6, strength[0] * strength[1])
        return agree < PLACES_AGREE

    def _pose(self, people: list[_Person]) -> Pose:
        skeleton = self.network.spec.skeleton
        count = len(skeleton)
        xyz = (
            np.array([p.xyz for p in people]).reshape(-1, count, 3)
            if "xyz" in self.network.spec.outputs
            else None
        )
        xy, score = (
            np.array([p.xy for p in people]).reshape(-1, count, 2),
            np.array([p.score for p in people]).reshape(-1, count),
        )
        return Pose(xy, score, skeleton, xyz, np.array([p.id for p in people], np.int64))


def settled(pose: Pose, places: NDArray[np.floating]) -> Pose:
    """The pose without NaN: a joint that is not finite, in 2D or 3D, gets score 0 and its person's place (N,
    2), and the root's position in 3D.
    """
    known = np.isfinite(pose.xy).all(-1) & (np.abs(pose.xy) < 1e6).all(-1) & np.isfinite(pose.score)
    if pose.xyz is not None:
        known &= np.isfinite(pose.xyz).all(-1) & (np.abs(pose.xyz) < 1e6).all(-1)
    xyz = None if pose.xyz is None else np.where(known[..., None], pose.xyz, 0)
    xy, score = (
        np.where(known[..., None], pose.xy, places[:, None]),
        np.where(known, np.clip(pose.score, 0, 1), 0),
    )
    return Pose(xy, score, pose.skeleton, xyz, pose.ids)


def associate(
    first: NDArray[np.floating], second: NDArray[np.floating], least: float
) -> list[tuple[int, int]]:
    """Pairs of boxes (N, 4) and (M, 4) whose intersection over union is `least` or more, each box once, the
    best pair first.

    >>> a, b = np.array([[0.0, 0, 10, 10], [20, 0, 30, 10]]), np.array([[21.0, 0, 31, 10], [0, 0, 10, 9]])
    >>> associate(a, b, 0.3)
    [(0, 1), (1, 0)]
    """
    score, pairs = iou(first, second), []
    while score.size and score.max() >= least:
        i, j = (int(v) for v in np.unravel_index(score.argmax(), score.shape))
        pairs.append((i, j))
        score[i], score[:, j] = -1, -1
    return pairs


def similarity(first: NDArray[np.floating], second: NDArray[np.floating], sure: NDArray[np.bool_]) -> float:
    """How much two poses (K, 2) are one, 0 to 1: COCO's OKS with one sigma of a tenth for all joints and the
    size of the larger, over the joints that are `sure`.
    """
    if not sure.any():
        return 0.0
    scale = 0.1 * max(size(first[sure]), size(second[sure]))
    return float(np.exp(-((first[sure] - second[sure]) ** 2).sum(-1) / (2 * scale**2)).mean())


def assigned(cost: Array, most: float) -> list[tuple[int, int]]:
    """Pairs of a row and a column of cost (N, M), each once, whose cost is at most `most`: as many as there
    are, best pair first, then exchanged as long as the sum falls.

    >>> assigned(np.array([[0.1, 0.3], [0.12, 0.5]]), 1.0)
    [(0, 1), (1, 0)]
    """
    cost, pairs = np.where(cost <= most, cost, np.inf), dict[int, int]()
    left = cost.copy()
    while left.size and np.isfinite(left.min()):
        i, j = (int(v) for v in np.unravel_index(left.argmin(), left.shape))
        pairs[i] = j
        left[i], left[:, j] = np.inf, np.inf
    better = True
    while better:
        better = False
        for i, j in combinations(sorted(pairs), 2):
            if cost[i, pairs[j]] + cost[j, pairs[i]] < cost[i, pairs[i]] + cost[j, pairs[j]] - 1e-9:
                pairs[i], pairs[j], better = pairs[j], pairs[i], True
    return sorted(pairs.items())


def _single(answers: list[_Person | None], asked: list[_Person]) -> list[_Person]:
    """The answers, each person only once: of two that are one pose, the one stays that was looked for in the
    place of a person who was there, and then the one with the higher score. Elsewhere less is enough to be
    the same pose: a person half hidden, seen twice, would otherwise begin anew. `asked` are the people whose
    places the first answers are from.
    """
    found = [(i < len(asked) and not asked[i].missed, a.usual, i) for i, a in enumerate(answers) if a]
    kept: list[tuple[int, _Person, Array]] = []
    for own, _, i in sorted(found, key=lambda one: (-one[0], -one[1], one[2])):
        new = answers[i]
        assert new is not None
        box = _bounds(new.xy, new.sure)
        if not any(
            (box[:2] <= there[2:]).all()
            and (box[2:] >= there[:2]).all()
            and similarity(new.xy, other.xy, new.sure & other.sure) > (SAME if own else LIKE)
            for _, other, there in kept
        ):
            kept.append((i, new, box))
    return [new for _, new, _ in sorted(kept, key=lambda one: one[0])]


def _moves(people: list[_Person], found: list[_Person], crowded: list[bool], seconds: float) -> Array:
    """(N, M) how far the joints of each of the people would have moved to be each of those found, in the
    median, in parts of its size: from where they were, or from where they should have gone if that is nearer.
    A change of size is added; infinite beyond `JUMP`, and where it is too much for one who is `crowded`.
    """
    cost = np.full((len(people), len(found)), np.inf)
    if not cost.size:
        return cost
    places = np.array([new.xy[new.sure].mean(0) for new in found])
    for i, last in enumerate(people):
        scale, gone, passed = size(last.xy[last.sure]), last.gone(seconds), max(0.0, seconds - last.seen)
        away = np.abs(places - last.xy[last.sure].mean(0)).max(1)
        for j in np.flatnonzero(away <= REACH * scale).tolist():
            new = found[j]
            both = last.sure & new.sure
            if not both.any():
                continue
            step = new.xy[both] - last.xy[both]
            moved = min(_median(step), _median(step - gone)) / scale
            if not crowded[i]:
                cost[i, j] = moved if moved <= JUMP else np.inf
            elif moved <= min(JUMP, STEP + STEPS * passed):
                grown = _grown(last, new)
                if grown <= np.log(GROWN + GROWTH * passed):
                    cost[i, j] = moved + 0.5 * grown
    return cost


def _returns(people: list[_Person], found: list[_Person], seconds: float) -> Array:
    """(N, M) how far each of the lost people is from each of those found, in parts of its size, where it
    should have gone; infinite where it was too long ago, or the sizes differ too much.
    """
    cost = np.full((len(people), len(found)), np.inf)
    for i, last in enumerate(people):
        box = _bounds(last.xy, last.sure) + np.tile(last.gone(seconds), 2)
        passed = max(0.0, seconds - last.seen)
        for j, new in enumerate(found):
            grown = _grown(last, new)
            if passed <= REMEMBERED and grown <= np.log(min(ALIKE, GROWN + GROWTH * passed)):
                away = _apart(box, _bounds(new.xy, new.sure))
                cost[i, j] = away + 0.5 * grown if away <= FAR else np.inf
    return cost


def _crowded(here: list[_Person], people: list[_Person], found: list[_Person]) -> list[bool]:
    """Whether somebody else of the people, or a second one of those found, is near each of those here."""
    if not here:
        return []
    near = np.array([_bounds(p.xy, p.sure) for p in [*people, *found]])
    own = [next(i for i, p in enumerate(people) if p is person) for person in here]
    middle, half = (near[own, :2] + near[own, 2:]) / 2, 1.5 * (near[own, 2:] - near[own, :2]) / 2
    low, high = (middle - half)[:, None], (middle + half)[:, None]
    there = np.asarray(((near[:, :2] <= high) & (near[:, 2:] >= low)).all(2))
    there[range(len(own)), own] = False
    return list(there[:, : len(people)].any(1) | (there[:, len(people) :].sum(1) > 1))


def _doubtful(new: _Person, people: list[_Person], seconds: float) -> bool:
    """Whether somebody new may be one of several people, who was lost, or a part of one who was not."""
    box = _bounds(new.xy, new.sure)
    for person in people:
        there = _bounds(person.xy, person.sure) + np.tile(person.gone(seconds), 2)
        if person.missed and len(people) > 1 and _apart(there, box) <= FAR:
            return True
        if not person.missed and ((there[:2] < box[2:]) & (there[2:] > box[:2])).all():
            return True
    return False


def _grown(last: _Person, new: _Person) -> float:
    """The logarithm, without sign, of how many times as large a person's joints lie apart as before."""
    both = last.sure & new.sure
    if not both.any():
        return 0.0
    spread = []
    for xy in (last.xy[both], new.xy[both]):
        away = (xy - xy.mean(0)).ravel()
        spread.append(max(1.0, float(away @ away) / len(xy)))
    return 0.5 * abs(float(np.log(spread[1] / spread[0])))


def _apart(box: Array, other: Array) -> float:
    """The distance of the middles of two boxes in parts of the first one's size; infinite if one is more than
    `ALIKE` times as large.
    """
    before, now = (max(1.0, *(b[2:] - b[:2])) for b in (box, other))
    if max(before, now) > ALIKE * min(before, now):
        return float("inf")
    return float(np.linalg.norm(np.subtract(*[(b[:2] + b[2:]) / 2 for b in (box, other)])) / before)


def _median(steps: Array) -> float:
    """The median length of steps (N, 2)."""
    away = np.sort((steps * steps).sum(-1))
    low, high = away[(len(away) - 1) // 2], away[len(away) // 2]
    return 0.5 * (float(low) ** 0.5 + float(high) ** 0.5)


def _continue(last: _Person, new: _Person, seconds: float) -> None:
    """Makes `new`, found at a time in seconds, the person that `last` was."""
    new.id, new.views, new.dress, new.doubts = last.id, last.views, last.dress, last.doubts
    new.since = last.since
    new.usual = (1 - USUAL) * last.usual + USUAL * new.usual
    _carry(last, new)
    passed, both = seconds - last.seen, new.sure & last.sure
    new.pace = last.pace
    if passed > 0 and both.any():
        step = np.sort(
            new.xy[both] - last.xy[both], axis=0
        )  # its median, which numpy's takes thrice as long for
        middle = 0.5 * (step[(len(step) - 1) // 2] + step[len(step) // 2])
        new.pace = last.pace + PACE * (middle / passed - last.pace)
    if not last.missed:
        new.region = _eased(last.region, new.region, _bounds(new.xy, new.sure), passed)


def _carry(last: _Person, new: _Person) -> None:
    """Puts the joints that `new` is not sure of where they were on the person, which has moved as the sure
    ones did.
    """
    unsure = ~new.sure
    if not unsure.any():
        return
    both = new.sure & last.sure
    moved = (new.xy[both] - last.xy[both]).mean(0) if both.any() else 0.0
    new.xy[unsure] = last.xy[unsure] + moved
    if new.xyz is not None and last.xyz is not None:
        new.xyz[unsure] = last.xyz[unsure]


def _look(person: _Person) -> None:
    """Remembers how a person looks now."""
    assert person.now is not None
    person.views = [*person.views[1 - VIEWS :], person.now]
    views = np.array(person.views)
    known = np.asarray(np.isfinite(views).all(2))
    person.dress = np.array([middle(views[known[:, part], part]) for part in (0, 1)])


def _eased(last: Array, new: Array, box: Array, seconds: float) -> Array:
    """The new region with momentum, and yet with the whole box of the joints in it."""
    momentum = MOMENTUM ** (RATE * max(0.0, seconds))
    region = momentum * last + (1 - momentum) * new
    return np.concatenate([np.minimum(region[:2], box[:2]), np.maximum(region[2:], box[2:])])


def _bounds(xy: Array, sure: NDArray[np.bool_]) -> Array:
    chosen = xy[sure]
    return np.concatenate([chosen.min(0), chosen.max(0)])
