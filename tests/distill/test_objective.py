"""The weighted sum of terms and its targets: FPD's loss by hand, with predictions that are stored as maps,
stored as points, and live; terms on features, logits and the student itself.
"""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from torch import nn

from poseling.codecs import Coordinates, SimCC
from poseling.codecs.heatmap import Heatmap
from poseling.codecs.heatmap_xyz import HeatmapXYZ
from poseling.codecs.losses import mse, simulated_heatmap, smooth_l1
from poseling.codecs.normalize import normalise
from poseling.data.augment import color_jitter
from poseling.distill.feature import align, aligned_mse, fade
from poseling.distill.hooks import hooked
from poseling.distill.objective import (
    Objective,
    Term,
    fpd,
    looks_inside,
    supervised,
    watch,
)
from poseling.distill.targets import ask
from poseling.skeleton import Skeleton
from poseling.spec import PoseSpec
from poseling.teachers.base import Prediction
from poseling.teachers.network import NetworkTeacher

BODY = Skeleton("body", ("head", "left_hand", "right_hand", "pelvis"), (0, 0, 0, 0))
CODEC = Heatmap((64, 64))
SPEC = PoseSpec("hourglass-1x8", BODY, CODEC.fields(), (64, 64))
LABELS = torch.tensor(
    [
        [[30.0, 12.0], [10.0, 40.0], [50.0, 44.0], [32.0, 40.0]],
        [[33.0, 20.0], [15.0, 50.0], [70.0, 30.0], [30.0, 41.0]],
    ]
)
TAUGHT = LABELS + torch.tensor([2.0, -3.0])


def batch(**more):
    """Two people; a hand of the second is outside the crop, and its head is not labelled."""
    random = np.random.default_rng(0)
    return {
        "image": torch.from_numpy(random.integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)),
        "joints": LABELS,
        "weight": torch.tensor([[1.0, 1, 1, 1], [0, 1, 1, 1]]),
        "color_jitter": torch.ones(2, 3),
        "broken": torch.zeros(2, dtype=torch.int64),
        "person": torch.arange(2),
        **more,
    }


class Student:
    """Gives the same outputs for all images, two stages, and keeps its inputs."""

    def __init__(self):
        self.outputs = torch.rand(
            2, 2, 4, 16, 16, generator=torch.Generator().manual_seed(0)
        ).requires_grad_()

    def __call__(self, images):
        self.seen = images
        return self.outputs


@dataclass
class FixedTeacher:
    """A teacher that predicts `joints` (B, K, 2) in pixels of its own input, whatever it sees."""

    joints: torch.Tensor
    skeleton: Skeleton = BODY
    size: tuple[int, int] = (64, 64)
    with_maps: bool = True
    score: torch.Tensor | None = None
    name: str = "fixed"
    digest: str = "fixed"
    padding: float = 1.25
    licences: dict = field(default_factory=dict)

    def __post_init__(self):
        self.codec = Heatmap(self.size)
        self.map_size, self.pixel = (
            (self.codec.map_size, self.codec.pixel) if self.with_maps else (None, None)
        )
        self.sigma = self.codec.sigma if self.with_maps else None

    def __call__(self, crops):
        assert crops.dtype == torch.uint8
        assert crops.shape == (2, self.size[1], self.size[0], 3)
        self.seen = crops
        maps, _ = self.codec.encode(self.joints, torch.ones(self.joints.shape[:2]))
        score = torch.ones(self.joints.shape[:2]) if self.score is None else self.score
        return Prediction(self.joints, score, maps if self.with_maps else None)


def by_loops(outputs, targets, weight):
    """Half the mean square of each map, weighed, averaged over samples and joints, summed over stages."""
    outputs, targets, weight = outputs.detach().numpy(), targets.numpy(), weight.numpy()
    total = 0.0
    for s in range(outputs.shape[1]):
        for b in range(outputs.shape[0]):
            for k in range(outputs.shape[2]):
                total += (
                    weight[b, k]
                    * 0.5
                    * np.mean((outputs[b, s, k] - targets[b, k]) ** 2)
                    / outputs.shape[0]
                    / outputs.shape[2]
                )
    return total


def gaussians(joints, size=16, pixel=63 / 15, sigma=2.0):
    """Maps (B, K, size, size) of joints in input pixels."""
    y, x = np.mgrid[:size, :size]
    cx, cy = (joints.numpy()[..., i][..., None, None] / pixel for i in (0, 1))
    return torch.from_numpy(np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * sigma**2)).astype(np.float32))


LABEL_WEIGHT = torch.tensor(
    [[1.0, 1, 1, 1], [0, 1, 0, 1]]
)  # 0 for the unlabelled head and the hand at x = 70 of 64


def test_labels_alone():
    student = Student()
    parts = Objective(SPEC, CODEC, supervised(CODEC, "mse"))(student, batch())
    assert set(parts) == {"loss", "labels"}
    assert parts["loss"].item() == pytest.approx(
        by_loops(student.outputs, gaussians(LABELS), LABEL_WEIGHT), rel=1e-5
    )
    torch.testing.assert_close(student.seen, normalise(batch()["image"], SPEC), rtol=0, atol=0)


@pytest.mark.parametrize("alpha", [0.5, 0.2])
def test_fpd_by_hand(alpha):
    """(1 - alpha) of the labels' loss and alpha of the teacher's, whose last stack is held against both of
    the student's.
    """
    student, teacher = Student(), FixedTeacher(TAUGHT)
    parts = Objective(SPEC, CODEC, fpd(CODEC, "mse", alpha), teacher=teacher)(student, batch())
    labels = by_loops(student.outputs, gaussians(LABELS), LABEL_WEIGHT)
    inside = torch.ones(2, 4)
    teacher = by_loops(
        student.outputs,
        gaussians(TAUGHT) * torch.tensor([[1.0, 1, 1, 1], [1, 1, 0, 1]])[..., None, None],
        inside,
    )
    assert parts["labels"].item() == pytest.approx(labels, rel=1e-5)
    assert parts["teacher"].item() == pytest.approx(teacher, rel=1e-5)
    assert parts["loss"].item() == pytest.approx((1 - alpha) * labels + alpha * teacher, rel=1e-5)
    parts["loss"].backward()
    assert student.outputs.grad[:, 0].any()
    assert student.outputs.grad[:, 1].any()


def test_alpha_is_a_share():
    assert [t.name for t in fpd(CODEC, "kl", 0.0)] == ["labels"]
    assert [t.name for t in fpd(CODEC, "kl", 1.0)] == ["teacher"]
    assert [t.weight for t in fpd(CODEC, "kl", 0.25)] == [0.75, 0.25]
    with pytest.raises(ValueError, match=r"alpha is 1\.5"):
        fpd(CODEC, "mse", 1.5)


def stored(with_maps=True, **more):
    """The batch with the teacher's joints, and maps of a byte a pixel that lie where the student's do."""
    found = {"teacher_xy": TAUGHT, "teacher_weight": torch.ones(2, 4)}
    if with_maps:
        found["teacher_maps"] = (gaussians(TAUGHT) * 255).round().to(torch.uint8)
        found["teacher_scale"] = torch.tensor([1 / 255, 0.0]).expand(2, 4, 2)
        found["teacher_matrix"] = torch.eye(3)[:2].expand(2, 2, 3)
    return batch(**found | more)


ALONE = (Term("teacher", mse, 1.0, "teacher"),)


BYTES = (gaussians(TAUGHT) * 255).round() / 255


def scaled():
    """BYTES with the second joint's map half as high and 20 steps taken from the third's."""
    maps = BYTES.clone()
    maps[:, 1] /= 2
    maps[:, 2] -= 20 / 255
    return maps.clamp(min=0)  # as the warp leaves them


def shifted():
    """BYTES three pixels to the left."""
    maps = torch.zeros_like(BYTES)
    maps[..., :13] = BYTES[..., 3:]
    return maps


SCALES = torch.tensor([[1 / 255, 0], [0.5 / 255, 0], [1 / 255, 20], [1 / 255, 0]]).expand(2, 4, 2)
THREE = torch.tensor([[1.0, 0, 3], [0, 1, 0]]).expand(2, 2, 3)
SCORES = torch.tensor([[0.9, 0.4, 0, 1], [0.2, 1, 0, 1]])
ONES = torch.ones(2, 4)
SURE = torch.tensor([[0.9, 0.4, 0, 1], [0.2, 1, 1, 1]])  # of points, the last hand outside the crop
STORED = {  # name: whether there are maps, what differs in the batch, confidence, the targets, their weight
    "maps": (True, {}, False, BYTES, ONES),
    "a scale for each map": (True, {"teacher_scale": SCALES}, False, scaled(), ONES),
    "a matrix to x + 3 of the teacher's maps": (True, {"teacher_matrix": THREE}, False, shifted(), ONES),
    "points": (
        False,
        {"teacher_weight": SURE},
        False,
        gaussians(TAUGHT),
        torch.tensor([[1.0, 1, 0, 1], [1, 1, 0, 1]]),
    ),
    "maps by confidence": (True, {"teacher_weight": SCORES}, True, BYTES, SCORES),
    "points by confidence": (False, {"teacher_weight": SCORES}, True, gaussians(TAUGHT), SCORES),
}


@pytest.mark.parametrize("name", STORED)
def test_stored_predictions(name):
    with_maps, changes, confidence, targets, weight = STORED[name]
    student, given = Student(), stored(with_maps, **changes)
    parts = Objective(SPEC, CODEC, ALONE, confidence)(student, given)
    assert parts["loss"].item() == pytest.approx(
        by_loops(student.outputs, targets, weight), rel=1e-4 if "matrix" in name else 1e-5
    )


@pytest.mark.parametrize("confidence", [False, True])
@pytest.mark.parametrize("with_maps", [True, False])
def test_a_live_teacher_gives_the_targets_of_a_stored_one(with_maps, confidence):
    score = torch.tensor([[0.9, 0.4, 0.1, 1], [0.2, 1, 0.5, 1]])
    teacher, given = (
        FixedTeacher(TAUGHT, with_maps=with_maps, score=score),
        stored(with_maps, teacher_weight=score),
    )
    if with_maps:
        given["teacher_maps"][1, 2] = 0  # the live one draws nothing for the hand outside its crop
    live = Objective(SPEC, CODEC, ALONE, confidence, teacher)(Student(), batch())
    kept = Objective(SPEC, CODEC, ALONE, confidence)(Student(), given)
    assert live["loss"].item() == pytest.approx(kept["loss"].item(), rel=2e-3)
    torch.testing.assert_close(teacher.seen, batch()["image"])


@pytest.mark.parametrize("with_maps", [True, False])
def test_a_teacher_with_fewer_joints_in_another_order(with_maps):
    """It knows a right and a left hand and two hips: no head, and the pelvis only as their middle, which has
    a point but no map.
    """
    other = Skeleton("other", ("right_hand", "left_hand", "left_hip", "right_hip"), (0, 0, 0, 0))
    joints = torch.stack([TAUGHT[:, 2], TAUGHT[:, 1], TAUGHT[:, 3] - 2, TAUGHT[:, 3] + 2], 1)
    teacher, student = (
        FixedTeacher(
            joints, other, with_maps=with_maps, score=torch.tensor([[0.5, 0.6, 0.7, 0.8]]).expand(2, 4)
        ),
        Student(),
    )
    expected = torch.tensor(
        [[0, 1.0, 1, 0 if with_maps else 1], [0, 1, 1 if with_maps else 0, 0 if with_maps else 1]]
    )
    maps = gaussians(TAUGHT)
    maps[1, 2] = 0
    found = Objective(SPEC, CODEC, ALONE, teacher=teacher)(student, batch())["loss"].item()
    assert found == pytest.approx(by_loops(student.outputs, maps, expected), rel=1e-5)
    sure = expected * torch.tensor([0, 0.6, 0.5, 0.7])  # a middle is as sure as the less sure of its two
    found = Objective(SPEC, CODEC, ALONE, True, teacher)(student, batch())["loss"].item()
    assert found == pytest.approx(by_loops(student.outputs, maps, sure), rel=1e-5)


@pytest.mark.parametrize(("size", "with_maps"), [((128, 128), True), ((192, 192), True), ((96, 96), False)])
def test_a_teacher_with_another_input_size(size, with_maps):
    """Corners on corners: a joint at x of 64 lies at x (W - 1) / 63 of W. Its Gaussians come in the student's
    width, not in its own.
    """
    inner = torch.tensor([[[30.0, 22], [20, 40], [40, 44], [32, 40]]]).expand(2, 4, 2)
    teacher, student = FixedTeacher(inner * (size[0] - 1) / 63, size=size, with_maps=with_maps), Student()
    student.outputs = torch.zeros(2, 1, 4, 16, 16)
    objective = Objective(SPEC, CODEC, ALONE, teacher=teacher)
    prediction, _ = ask(teacher, batch()["image"])
    maps, weight = objective.targets.teaching(batch(), prediction)
    torch.testing.assert_close(maps, gaussians(inner), atol=0.06 if with_maps else 1e-5, rtol=0)
    xy, _ = CODEC.decode(maps)
    torch.testing.assert_close(xy, inner, atol=0.4 if with_maps else 0.02, rtol=0)
    assert (weight == 1).all()
    assert objective(student, batch())["loss"].item() == pytest.approx(
        by_loops(student.outputs, gaussians(inner), weight), rel=0.03
    )


def test_a_live_teacher_sees_the_resized_crop():
    ramp = torch.arange(64.0).view(1, 1, 64, 1).expand(2, 64, 64, 3).to(torch.uint8)
    teacher = FixedTeacher(TAUGHT, size=(128, 128))
    Objective(SPEC, CODEC, ALONE, teacher=teacher)(Student(), batch(image=ramp))
    expected = (torch.arange(128.0) * 63 / 127).round().to(torch.uint8)
    assert torch.equal(teacher.seen[0, 5, :, 1], expected)


def test_color_jitter_changes_the_image_for_student_and_teacher_alike():
    factors = torch.tensor([[1.1, 0.8, 1.2], [1.0, 1.0, 1.0]])
    student, teacher = Student(), FixedTeacher(TAUGHT)
    given = batch(color_jitter=factors)
    Objective(SPEC, CODEC, fpd(CODEC, "mse", 0.5), teacher=teacher)(student, given)
    lit = color_jitter(given["image"].permute(0, 3, 1, 2), factors)
    torch.testing.assert_close(student.seen, normalise(lit.permute(0, 2, 3, 1), SPEC))
    assert torch.equal(teacher.seen, lit.permute(0, 2, 3, 1).round().clamp(0, 255).to(torch.uint8))
    assert not torch.equal(teacher.seen[0], given["image"][0])
    torch.testing.assert_close(lit[1].permute(1, 2, 0).round().to(torch.uint8), given["image"][1])


@pytest.mark.parametrize("teacher", [None, FixedTeacher(TAUGHT)])
def test_nothing_is_learnt_from_an_image_that_cannot_be_read(teacher):
    student = Student()
    broken = stored(broken=torch.tensor([0, 1]), weight=torch.tensor([[1.0] * 4, [0.0] * 4]))
    Objective(SPEC, CODEC, fpd(CODEC, "mse", 0.5), teacher=teacher)(student, broken)["loss"].backward()
    assert student.outputs.grad[0].any()
    assert not student.outputs.grad[1].any()


def test_no_gradient_reaches_the_teacher():
    teacher = FixedTeacher(TAUGHT.clone().requires_grad_())
    Objective(SPEC, CODEC, ALONE, teacher=teacher)(Student(), batch())["loss"].backward()
    assert teacher.joints.grad is None


def test_fpds_teacher_counts_for_labelled_joints():
    """As the authors' JointsMSE, which weighs both terms by the label's visibility: 1/K sum_k v_k D_k, here
    of the first person's joints 0, 2 and 3 of 4.
    """
    given = batch(weight=torch.tensor([[1.0, 0, 1, 1], [0, 0, 0, 0]]))
    student = Student()
    theirs = Objective(SPEC, CODEC, fpd(CODEC, "mse", 1.0, labelled=True), teacher=FixedTeacher(TAUGHT))(
        student, given
    )["teacher"]
    ours = Objective(SPEC, CODEC, fpd(CODEC, "mse", 1.0), teacher=FixedTeacher(TAUGHT))(student, given)[
        "teacher"
    ]
    weight = torch.tensor(
        [[1.0, 0, 1, 1], [1, 1, 1, 1]]
    )  # the second sample has no label: all of the teacher's joints count
    maps = gaussians(TAUGHT)
    maps[1, 2] = 0  # the teacher draws nothing of a hand outside
    assert theirs.item() == pytest.approx(by_loops(student.outputs, maps, weight), rel=1e-4)
    assert ours.item() == pytest.approx(by_loops(student.outputs, maps, torch.ones(2, 4)), rel=1e-4)
    assert theirs.item() < ours.item()
    assert [t.labelled for t in fpd(CODEC, "mse", 0.5, labelled=True)] == [False, True]


def test_a_softmax_codec_is_taught_by_kl():
    codec = replace(CODEC, softmax=True)
    spec = replace(SPEC, codec=codec.fields())
    student = Student()
    student.outputs = gaussians(TAUGHT).clamp(min=1e-20).log()[:, None].repeat(1, 2, 1, 1, 1).requires_grad_()
    loss = Objective(spec, codec, (replace(fpd(CODEC, "kl", 1.0)[0]),), teacher=FixedTeacher(TAUGHT))(
        student, batch()
    )["loss"]
    assert loss.item() == pytest.approx(0, abs=1e-5)


# Terms that look inside networks


class Inner(nn.Module):
    """Maps of two stages, read from a feature of `channels` at a quarter of the input."""

    def __init__(self, channels=3, seed=0, joints=4):
        super().__init__()
        torch.manual_seed(seed)
        self.backbone = nn.Conv2d(3, channels, 4, 4)
        self.features = nn.Identity()
        self.head = nn.Conv2d(channels, 2 * joints, 1)

    def forward(self, images):
        out = self.head(self.features(self.backbone(images)))
        return out.unflatten(1, (2, -1))


class Bins(nn.Module):
    """SimCC logits of two stages for four joints at 64x64."""

    def __init__(self, seed):
        super().__init__()
        self.bins = nn.Parameter(torch.randn(2, 4, 256, generator=torch.Generator().manual_seed(seed)))

    def forward(self, images):
        return self.bins + images.mean((1, 2, 3))[:, None, None, None]


def seen_by(found):
    """A loss that keeps what it is shown; its value is 3."""

    def loss(*compared):
        found.append(compared)
        return compared[0].sum() * 0 + 3

    return loss


def taught(terms, student=None, teacher=None, spec=SPEC, codec=CODEC, **more):
    """The objective, and the hooked student, of a student and a live teacher."""
    student, teacher = student or Inner(), teacher or NetworkTeacher(Inner(5, 1), spec, digest="t")
    learner = hooked(
        student,
        (64, 64),
        watch(terms),
        {t.name: t.adapter for t in terms if t.adapter},
        teacher.network,
        teacher.size,
    )
    return Objective(spec, codec, tuple(terms), teacher=teacher, **more), learner


def test_a_feature_term_by_hand():
    """Labels and 2 (1 - done) times the squared distance of the features, the student's three channels
    brought to the teacher's five.
    """
    terms = [*supervised(CODEC, "mse"), Term("mimic", aligned_mse, 2.0, "teacher", "features", align, fade)]
    objective, learner = taught(terms)
    given = batch(broken=torch.tensor([0, 1]), weight=torch.tensor([[1.0, 1, 1, 1], [0, 0, 0, 0]]))
    parts = objective(learner, given, 0.25)
    images = normalise(given["image"], SPEC)
    mine, theirs = learner.network.backbone(images), objective.teacher.network.backbone(images)
    project = learner.adapters["mimic"].project
    across = torch.einsum("oc,bchw->bohw", project.weight[:, :, 0, 0], mine) + project.bias[:, None, None]
    expected = (
        across[0] - theirs[0]
    ).square().sum().item() / 2  # the mean over two people, one of which cannot be read
    assert set(parts) == {"loss", "labels", "mimic"}
    assert parts["mimic"].item() == pytest.approx(expected, rel=1e-4)
    assert parts["loss"].item() == pytest.approx(parts["labels"].item() + 2 * 0.75 * expected, rel=1e-4)
    assert objective(learner, given, 1.0)["loss"].item() == pytest.approx(parts["labels"].item(), rel=1e-5)
    parts["loss"].backward()
    assert learner.network.backbone.weight.grad.any()
    assert project.weight.grad.any()
    assert all(p.grad is None for p in objective.teacher.network.parameters())
    assert all(not module._forward_hooks for module in objective.teacher.network.modules())


def test_a_schedule_scales_its_term_alone():
    terms = (
        Term("a", lambda *_: torch.tensor(10.0), 1.0, "labels"),
        Term("b", lambda *_: torch.tensor(1.0), 3.0, "labels", schedule=lambda done: done**2),
    )
    objective = Objective(SPEC, CODEC, terms)
    assert [objective(Student(), batch(), done)["loss"].item() for done in (0.0, 0.5, 1.0)] == [
        10.0,
        10.75,
        13.0,
    ]
    assert objective(Student(), batch(), 0.5)["b"].item() == 1  # as it is, without weight


def test_a_joints_term_reads_features_under_the_teachers_maps():
    found = []
    objective, learner = taught([Term("joints", seen_by(found), 0.5, "teacher", "joints")])
    given = batch(broken=torch.tensor([1, 0]))
    parts = objective(learner, given)
    assert parts["loss"].item() == 1.5
    (mine, theirs, weight) = found[0]
    images = normalise(given["image"], SPEC)
    with torch.no_grad():
        teacher = objective.teacher.network
        maps = teacher(images)[:, -1].clamp(min=0).numpy()
        for got, network in ((mine, learner.network), (theirs, teacher)):
            feature = network.backbone(images).numpy()
            expected = np.einsum("bkhw,bchw->bkc", maps, feature) / maps.sum((-2, -1))[..., None]
            np.testing.assert_allclose(got.detach().numpy(), expected, rtol=1e-3, atol=1e-4)
    assert mine.shape == (2, 4, 3)
    assert theirs.shape == (2, 4, 5)
    assert weight.tolist() == [[0.0] * 4, [1.0] * 4]


def test_a_logits_term_compares_outputs_as_they_are():
    codec = SimCC((64, 64))
    spec = replace(SPEC, codec=codec.fields())
    found = []
    student = Bins(0)
    terms = [Term("logits", seen_by(found), 1.0, "teacher", "logits")]
    objective, learner = taught(terms, student, NetworkTeacher(Bins(1), spec), spec, codec)
    given = batch(broken=torch.tensor([0, 1]))
    objective(learner, given)
    mine, theirs, weight = found[0]
    bright = normalise(given["image"], spec).mean((1, 2, 3))[:, None, None]
    torch.testing.assert_close(mine, student.bins + bright[..., None])
    torch.testing.assert_close(theirs, Bins(1).bins[1] + bright)  # the last of the teacher's stages
    assert weight.tolist() == [1, 0]
    # DWPose's loss on them: nothing where both are one network.
    same, learner = taught(
        [Term("logits", codec.logits_loss(), 1.0, "teacher", "logits")],
        Bins(1),
        NetworkTeacher(Bins(1), spec),
        spec,
        codec,
    )
    learner.network.bins.data[0] = learner.network.bins.data[1]
    assert same(learner, given)["logits"].item() == pytest.approx(0, abs=1e-5)


def test_what_a_network_learns_from_itself():
    found, inside = [], []
    terms = [
        Term("outputs", seen_by(found), 1.0, "itself"),
        Term("tokens", seen_by(inside), 2.0, "itself", "features"),
    ]
    student = Inner()
    learner = hooked(student, (64, 64), watch(terms), {})
    given = batch(broken=torch.tensor([0, 1]), weight=torch.tensor([[1.0, 0, 1, 1], [0, 0, 0, 0]]))
    parts = Objective(SPEC, CODEC, tuple(terms))(learner, given)  # without a teacher
    assert parts["loss"].item() == 9
    images = normalise(given["image"], SPEC)
    outputs, weight = found[0]
    torch.testing.assert_close(outputs, student(images))
    assert weight.tolist() == [[1, 0, 1, 1], [0] * 4]
    feature, whole = inside[0]
    torch.testing.assert_close(feature, student.backbone(images))
    assert whole.tolist() == [1, 0]


MIMIC = Term("mimic", aligned_mse, 1.0, "teacher", "features", align)


def test_watching_is_for_terms_that_look_inside():
    terms = (
        *supervised(CODEC, "mse"),
        *ALONE,
        MIMIC,
        Term("pairs", mse, 1.0, "teacher", "joints"),
        Term("own", mse, 1.0, "itself", "visual_tokens"),
    )
    assert watch(terms) == {"mimic": "features", "pairs": "features", "own": "visual_tokens"}
    assert watch((Term("logits", mse, 1.0, "teacher", "logits"),)) == {"logits": ""}
    assert [looks_inside(t) for t in (terms, terms[:2], terms[4:], terms[2:3])] == [True, False, False, True]


@pytest.mark.parametrize("at", ["features", "joints", "logits"])
def test_features_need_a_teacher_that_is_a_checkpoint(at):
    term = replace(MIMIC, at=at)
    with pytest.raises(
        ValueError,
        match=rf"mimic \(at {at}\): .* but pseudo-labels cannot be looked into; "
        "take a teacher that is a checkpoint",
    ):
        Objective(SPEC, CODEC, (*ALONE, term))
    with pytest.raises(ValueError, match="but fixed cannot be looked into"):
        Objective(SPEC, CODEC, (term,), teacher=FixedTeacher(TAUGHT))  # as an ONNX file: predictions alone
    Objective(SPEC, CODEC, (replace(term, against="itself"),))


def test_features_at_joints_need_heatmaps():
    term = replace(MIMIC, at="joints", against="itself")
    for codec in (SimCC((64, 64)), HeatmapXYZ((64, 64))):
        with pytest.raises(
            ValueError, match=rf"mimic: reads features under .* gives {codec.name}; take a student"
        ):
            Objective(SPEC, codec, (term,))
    Objective(SPEC, CODEC, (term,))


def test_logits_of_different_codecs_are_refused():
    term = Term("logits", mse, 1.0, "teacher", "logits")
    codec = SimCC((64, 64))
    others = [
        replace(SPEC, codec=codec.fields()),
        replace(SPEC, codec=Heatmap((64, 64), sigma=1.0).fields()),
        replace(SPEC, skeleton=Skeleton("body", ("head", "right_hand", "left_hand", "pelvis"), (0, 0, 0, 0))),
    ]
    for other in others:
        with pytest.raises(
            ValueError,
            match="logits can be compared where both networks have the same joints, input size and codec; "
            "the teacher wise has",
        ):
            Objective(SPEC, CODEC, (term,), teacher=NetworkTeacher(Inner(), other, "wise"))
    Objective(SPEC, CODEC, (term,), teacher=NetworkTeacher(Inner(), SPEC, "wise"))


POINTS = Coordinates((64, 64))


def near_the_labels():
    """Outputs (2, 1, 4, 5) of a student of coordinates: beside the truth, of many widths."""
    random = np.random.default_rng(3)
    place = (LABELS.numpy() + random.uniform(-5, 5, (2, 4, 2))) / 63
    return torch.from_numpy(
        np.concatenate([place, random.uniform(1, 3, (2, 4, 2)), random.normal(size=(2, 4, 1))], -1).astype(
            np.float32
        )
    )[:, None]


def simulated(outputs, maps, weight):
    """Mean square between maps and the Gaussians that the outputs stand for, by loops."""
    y, x = np.mgrid[:16, :16]
    total = 0.0
    for b in range(2):
        for k in range(4):
            px, py, sx, sy, _ = outputs[b, 0, k].tolist()
            drawn = np.exp(-((x - px * 15) ** 2) / (2 * sx**2) - (y - py * 15) ** 2 / (2 * sy**2))
            total += weight[b][k] * np.mean((drawn - maps[b, k].numpy()) ** 2) / 8
    return total


@pytest.mark.parametrize("how", ["maps", "points", "live maps", "live points"])
def test_a_student_of_coordinates_learns_from_heatmaps(how):
    """The maps as they are stored; where there are only points, the maps that a teacher would have drawn. The
    labels teach it places.
    """
    spec = replace(SPEC, codec=POINTS.fields())
    terms = (Term("labels", smooth_l1, 1.0, "labels"), Term("teacher", simulated_heatmap, 2.0, "teacher"))
    student, given = Student(), stored(with_maps=how != "points")
    student.outputs = near_the_labels().requires_grad_()
    teacher = FixedTeacher(TAUGHT, with_maps=how == "live maps") if how.startswith("live") else None
    parts = Objective(spec, POINTS, terms, teacher=teacher)(student, given if teacher is None else batch())
    maps, weight = gaussians(TAUGHT), [[1, 1, 1, 1], [1, 1, 1, 1]]
    if how == "maps":
        maps = (maps * 255).round() / 255
    elif how == "live maps":
        maps[1, 2] = 0  # nothing is drawn of a hand outside
    else:
        weight[1][2] = 0
    # By hand: a Gaussian more than three widths outside the map counts for nothing; the hand at x = 70 of 64
    # lies 1.7 pixels of the map outside.
    teacher_loss = simulated(student.outputs.detach(), maps, weight)
    assert parts["teacher"].item() == pytest.approx(teacher_loss, rel=1e-3)
    apart = (student.outputs.detach()[:, 0, :, :2] - LABELS / 63).abs().numpy()  # all below 1
    labels = (LABEL_WEIGHT.numpy()[..., None] * apart**2 / 2).mean()
    assert parts["labels"].item() == pytest.approx(labels, rel=1e-4)
    assert parts["loss"].item() == pytest.approx(labels + 2 * teacher_loss, rel=1e-3)
