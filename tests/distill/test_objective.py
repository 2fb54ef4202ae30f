"""What a student is trained for: FPD's loss by hand, with answers that are stored as maps, as points, and asked for live."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch

from poseling.codecs.heatmap import Heatmap
from poseling.codecs.picture import normalise
from poseling.data.augment import relight
from poseling.distill.objective import Objective, Term, fpd, supervised
from poseling.distill.response import mse
from poseling.skeleton import Skeleton
from poseling.spec import PoseSpec
from poseling.teachers.base import Answer

BODY = Skeleton("body", ("head", "left_hand", "right_hand", "pelvis"), (0, 0, 0, 0))
CODEC = Heatmap((64, 64))
SPEC = PoseSpec("hourglass-1x8", BODY, CODEC.fields(), (64, 64))
LABELS = torch.tensor([[[30.0, 12.0], [10.0, 40.0], [50.0, 44.0], [32.0, 40.0]], [[33.0, 20.0], [15.0, 50.0], [70.0, 30.0], [30.0, 41.0]]])
SAID = LABELS + torch.tensor([2.0, -3.0])


def batch(**more):
    """Two people; a hand of the second is outside the crop, and its head is not labelled."""
    random = np.random.default_rng(0)
    return {
        "image": torch.from_numpy(random.integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)),
        "joints": LABELS,
        "weight": torch.tensor([[1.0, 1, 1, 1], [0, 1, 1, 1]]),
        "light": torch.ones(2, 3),
        "broken": torch.zeros(2, dtype=torch.int64),
        "person": torch.arange(2),
        **more,
    }


class Student:
    """Says the same of everything, two stacks, and keeps what it was shown."""

    def __init__(self):
        self.outputs = torch.rand(2, 2, 4, 16, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()

    def __call__(self, pictures):
        self.seen = pictures
        return self.outputs


@dataclass
class Guest:
    """A teacher that knows where everyone is: `joints` (B, K, 2) in pixels of its own input."""

    joints: torch.Tensor
    skeleton: Skeleton = BODY
    size: tuple[int, int] = (64, 64)
    with_maps: bool = True
    score: torch.Tensor | None = None
    name: str = "guest"
    digest: str = "guest"
    padding: float = 1.25
    licences: dict = field(default_factory=dict)

    def __post_init__(self):
        self.codec = Heatmap(self.size)
        self.map_size, self.pixel = (self.codec.map_size, self.codec.pixel) if self.with_maps else (None, None)
        self.sigma = self.codec.sigma if self.with_maps else None

    def __call__(self, crops):
        assert crops.dtype == torch.uint8
        assert crops.shape == (2, self.size[1], self.size[0], 3)
        self.seen = crops
        maps, _ = self.codec.encode(self.joints, torch.ones(self.joints.shape[:2]))
        score = torch.ones(self.joints.shape[:2]) if self.score is None else self.score
        return Answer(self.joints, score, maps if self.with_maps else None)


def by_loops(outputs, targets, weight):
    """Half the mean square of each map, weighed, averaged over people and joints, summed over stacks."""
    outputs, targets, weight = outputs.detach().numpy(), targets.numpy(), weight.numpy()
    total = 0.0
    for s in range(outputs.shape[1]):
        for b in range(outputs.shape[0]):
            for k in range(outputs.shape[2]):
                total += weight[b, k] * 0.5 * np.mean((outputs[b, s, k] - targets[b, k]) ** 2) / outputs.shape[0] / outputs.shape[2]
    return total


def gaussians(joints, size=16, pixel=63 / 15, sigma=2.0):
    """Maps (B, K, size, size) of joints in input pixels."""
    y, x = np.mgrid[:size, :size]
    cx, cy = (joints.numpy()[..., i][..., None, None] / pixel for i in (0, 1))
    return torch.from_numpy(np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * sigma**2)).astype(np.float32))


LABEL_WEIGHT = torch.tensor([[1.0, 1, 1, 1], [0, 1, 0, 1]])  # 0 for the unlabelled head and the hand at x = 70 of 64


def test_labels_alone():
    student = Student()
    parts = Objective(SPEC, CODEC, supervised("mse"))(student, batch())
    assert set(parts) == {"loss", "labels"}
    assert parts["loss"].item() == pytest.approx(by_loops(student.outputs, gaussians(LABELS), LABEL_WEIGHT), rel=1e-5)
    torch.testing.assert_close(student.seen, normalise(batch()["image"], SPEC), rtol=0, atol=0)


@pytest.mark.parametrize("alpha", [0.5, 0.2])
def test_fpd_by_hand(alpha):
    """(1 - alpha) of the labels' loss and alpha of the teacher's, whose last stack is held against both of the student's."""
    student, guest = Student(), Guest(SAID)
    parts = Objective(SPEC, CODEC, fpd("mse", alpha), teacher=guest)(student, batch())
    labels = by_loops(student.outputs, gaussians(LABELS), LABEL_WEIGHT)
    inside = torch.ones(2, 4)
    teacher = by_loops(student.outputs, gaussians(SAID) * torch.tensor([[1.0, 1, 1, 1], [1, 1, 0, 1]])[..., None, None], inside)
    assert parts["labels"].item() == pytest.approx(labels, rel=1e-5)
    assert parts["teacher"].item() == pytest.approx(teacher, rel=1e-5)
    assert parts["loss"].item() == pytest.approx((1 - alpha) * labels + alpha * teacher, rel=1e-5)
    parts["loss"].backward()
    assert student.outputs.grad[:, 0].any()
    assert student.outputs.grad[:, 1].any()


def test_alpha_is_a_share():
    assert [t.name for t in fpd("kl", 0.0)] == ["labels"]
    assert [t.name for t in fpd("kl", 1.0)] == ["teacher"]
    assert [t.weight for t in fpd("kl", 0.25)] == [0.75, 0.25]
    with pytest.raises(ValueError, match=r"alpha is 1\.5"):
        fpd("mse", 1.5)


def stored(**more):
    """The same words as stored maps, a byte a pixel, that lie where the student's do."""
    maps = (gaussians(SAID) * 255).round().to(torch.uint8)
    answer = {"answer_maps": maps, "answer_matrix": torch.eye(3)[:2].expand(2, 2, 3), "answer_xy": SAID, "answer_weight": torch.ones(2, 4)}
    return batch(**answer | more)


ALONE = (Term("teacher", mse, 1.0, "teacher"),)


def test_stored_maps():
    student = Student()
    parts = Objective(SPEC, CODEC, ALONE)(student, stored())
    assert parts["loss"].item() == pytest.approx(by_loops(student.outputs, (gaussians(SAID) * 255).round() / 255, torch.ones(2, 4)), rel=1e-5)


def test_stored_maps_follow_their_matrix():
    """A matrix that leads a pixel x of the student's map to x + 3 of the teacher's."""
    student = Student()
    matrix = torch.tensor([[1.0, 0, 3], [0, 1, 0]]).expand(2, 2, 3)
    parts = Objective(SPEC, CODEC, ALONE)(student, stored(answer_matrix=matrix))
    moved = torch.zeros(2, 4, 16, 16)
    moved[..., :13] = ((gaussians(SAID) * 255).round() / 255)[..., 3:]
    assert parts["loss"].item() == pytest.approx(by_loops(student.outputs, moved, torch.ones(2, 4)), rel=1e-4)


def test_stored_points():
    student, said = Student(), stored()
    del said["answer_maps"], said["answer_matrix"]
    said["answer_weight"] = torch.tensor([[0.9, 0.4, 0, 1], [0.2, 1, 1, 1]])
    known = torch.tensor([[1.0, 1, 0, 1], [1, 1, 0, 1]])  # the last hand lies outside the crop
    parts = Objective(SPEC, CODEC, ALONE)(student, said)
    assert parts["loss"].item() == pytest.approx(by_loops(student.outputs, gaussians(SAID), known), rel=1e-5)


@pytest.mark.parametrize("how", ["maps", "points"])
def test_confidence_weighs_by_the_teachers_score(how):
    student, said = Student(), stored(answer_weight=torch.tensor([[0.9, 0.4, 0, 1], [0.2, 1, 0, 1]]))
    if how == "points":
        del said["answer_maps"], said["answer_matrix"]
    parts = Objective(SPEC, CODEC, ALONE, confidence=True)(student, said)
    maps = (gaussians(SAID) * 255).round() / 255 if how == "maps" else gaussians(SAID)
    assert parts["loss"].item() == pytest.approx(by_loops(student.outputs, maps, said["answer_weight"]), rel=1e-5)


@pytest.mark.parametrize("with_maps", [True, False])
def test_a_live_teacher_says_what_a_stored_one_does(with_maps):
    score = torch.tensor([[0.9, 0.4, 0.1, 1], [0.2, 1, 0.5, 1]])
    for confidence in (False, True):
        live, kept = Student(), Student()
        guest = Guest(SAID, with_maps=with_maps, score=score)
        said = stored(answer_weight=score)
        if not with_maps:
            del said["answer_maps"], said["answer_matrix"]
        else:
            said["answer_maps"][1, 2] = 0  # the guest draws nothing for the hand outside its crop
        a = Objective(SPEC, CODEC, ALONE, confidence, guest)(live, batch())
        b = Objective(SPEC, CODEC, ALONE, confidence)(kept, said)
        assert a["loss"].item() == pytest.approx(b["loss"].item(), rel=2e-3)
        torch.testing.assert_close(guest.seen, batch()["image"])


@pytest.mark.parametrize("with_maps", [True, False])
def test_a_teacher_with_fewer_joints_in_another_order(with_maps):
    """It knows a right and a left hand and two hips: no head, and the pelvis only as their middle, which has a point but no map."""
    other = Skeleton("other", ("right_hand", "left_hand", "left_hip", "right_hip"), (0, 0, 0, 0))
    joints = torch.stack([SAID[:, 2], SAID[:, 1], SAID[:, 3] - 2, SAID[:, 3] + 2], 1)
    guest, student = Guest(joints, other, with_maps=with_maps, score=torch.tensor([[0.5, 0.6, 0.7, 0.8]]).expand(2, 4)), Student()
    expected = torch.tensor([[0, 1.0, 1, 0 if with_maps else 1], [0, 1, 1 if with_maps else 0, 0 if with_maps else 1]])
    maps = gaussians(SAID)
    maps[1, 2] = 0
    found = Objective(SPEC, CODEC, ALONE, teacher=guest)(student, batch())["loss"].item()
    assert found == pytest.approx(by_loops(student.outputs, maps, expected), rel=1e-5)
    sure = expected * torch.tensor([0, 0.6, 0.5, 0.7])  # a middle is as sure as the less sure of its two
    found = Objective(SPEC, CODEC, ALONE, True, guest)(student, batch())["loss"].item()
    assert found == pytest.approx(by_loops(student.outputs, maps, sure), rel=1e-5)


@pytest.mark.parametrize(("size", "with_maps"), [((128, 128), True), ((192, 192), True), ((96, 96), False)])
def test_a_teacher_with_another_input_size(size, with_maps):
    """Corners on corners: a joint at x of 64 lies at x (W - 1) / 63 of W. Its hills come in the student's width, not in its own."""
    inner = torch.tensor([[[30.0, 22], [20, 40], [40, 44], [32, 40]]]).expand(2, 4, 2)
    guest, student = Guest(inner * (size[0] - 1) / 63, size=size, with_maps=with_maps), Student()
    student.outputs = torch.zeros(2, 1, 4, 16, 16)
    objective = Objective(SPEC, CODEC, ALONE, teacher=guest)
    maps, weight = objective._target("teacher", batch(), batch()["image"])
    torch.testing.assert_close(maps, gaussians(inner), atol=0.06 if with_maps else 1e-5, rtol=0)
    xy, _ = CODEC.decode(maps)
    torch.testing.assert_close(xy, inner, atol=0.4 if with_maps else 0.02, rtol=0)
    assert (weight == 1).all()
    assert objective(student, batch())["loss"].item() == pytest.approx(by_loops(student.outputs, gaussians(inner), weight), rel=0.03)


def test_a_live_teacher_sees_the_resized_crop():
    ramp = torch.arange(64.0).view(1, 1, 64, 1).expand(2, 64, 64, 3).to(torch.uint8)
    guest = Guest(SAID, size=(128, 128))
    Objective(SPEC, CODEC, ALONE, teacher=guest)(Student(), batch(image=ramp))
    expected = (torch.arange(128.0) * 63 / 127).round().to(torch.uint8)
    assert torch.equal(guest.seen[0, 5, :, 1], expected)


def test_light_changes_the_picture_for_student_and_teacher_alike():
    light = torch.tensor([[1.1, 0.8, 1.2], [1.0, 1.0, 1.0]])
    student, guest = Student(), Guest(SAID)
    given = batch(light=light)
    Objective(SPEC, CODEC, fpd("mse", 0.5), teacher=guest)(student, given)
    lit = relight(given["image"].permute(0, 3, 1, 2) / 255, light) * 255
    torch.testing.assert_close(student.seen, normalise(lit.permute(0, 2, 3, 1), SPEC))
    assert torch.equal(guest.seen, lit.permute(0, 2, 3, 1).round().clamp(0, 255).to(torch.uint8))
    assert not torch.equal(guest.seen[0], given["image"][0])
    torch.testing.assert_close(lit[1].permute(1, 2, 0).round().to(torch.uint8), given["image"][1])


@pytest.mark.parametrize("teacher", [None, Guest(SAID)])
def test_nothing_is_learnt_from_a_picture_that_cannot_be_read(teacher):
    student = Student()
    broken = stored(broken=torch.tensor([0, 1]), weight=torch.tensor([[1.0] * 4, [0.0] * 4]))
    Objective(SPEC, CODEC, fpd("mse", 0.5), teacher=teacher)(student, broken)["loss"].backward()
    assert student.outputs.grad[0].any()
    assert not student.outputs.grad[1].any()


def test_no_gradient_reaches_the_teacher():
    guest = Guest(SAID.clone().requires_grad_())
    Objective(SPEC, CODEC, ALONE, teacher=guest)(Student(), batch())["loss"].backward()
    assert guest.joints.grad is None


def test_a_softmax_codec_is_taught_by_kl():
    codec = replace(CODEC, softmax=True)
    spec = replace(SPEC, codec=codec.fields())
    student = Student()
    student.outputs = gaussians(SAID).clamp(min=1e-20).log()[:, None].repeat(1, 2, 1, 1, 1).requires_grad_()
    loss = Objective(spec, codec, (replace(fpd("kl", 1.0)[0]),), teacher=Guest(SAID))(student, batch())["loss"]
    assert loss.item() == pytest.approx(0, abs=1e-5)
