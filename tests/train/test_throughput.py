import cv2
import numpy as np
import torch
from accelerate.state import AcceleratorState

from poseling.codecs.heatmap import Heatmap
from poseling.data.augment import Augment
from poseling.data.dataset import PoseDataset
from poseling.data.loader import Crops
from poseling.distill.objective import Objective, supervised
from poseling.models import registry
from poseling.skeleton import Skeleton
from poseling.spec import PoseSpec
from poseling.train.loop import engine
from poseling.train.optim import Training
from poseling.train.throughput import stepper, throughput


def test_images_a_second_by_a_clock_of_ours():
    """Two ways in turn, the first round not counted: the clock tells the seconds of each call."""
    seconds, calls = {"fast": iter([9, 1, 2]), "slow": iter([9, 4, 8])}, []
    now = [0.0]

    def call(name):
        calls.append(name)
        now[0] += next(seconds[name])

    found = throughput(
        {name: lambda name=name: call(name) for name in seconds}, images=8, rounds=2, clock=lambda: now[0]
    )
    assert found == {"fast": [8.0, 4.0], "slow": [2.0, 1.0]}
    assert calls == ["fast", "slow"] * 3


def test_a_step_trains_a_copy_and_draws_samples(tmp_path):
    AcceleratorState._reset_state(reset_partial_state=True)
    body = Skeleton("body", ("head", "neck"), (0, 0))
    cv2.imwrite(
        str(tmp_path / "p.png"), np.random.default_rng(0).integers(0, 256, (80, 80, 3), dtype=np.uint8)
    )
    joints = np.tile(np.float32([[30, 30], [50, 50]]), (3, 1, 1))
    dataset = PoseDataset(
        "three",
        body,
        (tmp_path / "p.png",) * 3,
        np.tile(np.float32([10, 10, 70, 70]), (3, 1)),
        joints,
        np.full((3, 2), 2, np.uint8),
    )
    codec = Heatmap((64, 64))
    objective = Objective(
        PoseSpec("hourglass-1x8", body, codec.fields(), (64, 64)), codec, supervised(codec, "mse")
    )
    shown, network = [], registry.build("hourglass-1x8", 2)
    before = {name: t.clone() for name, t in network.state_dict().items()}

    class Watched(Crops):
        def __getitem__(self, place):
            shown.append(place)
            return super().__getitem__(place)

    def watch(student, batch):
        weights.append(next(student.parameters()).detach().clone())
        return objective(student, batch)

    weights = []
    step = stepper(
        network,
        watch,
        Watched(dataset, (64, 64), 1.25, Augment(), 0),
        Training(batch=4, learning_rate=1e-2),
        engine(cpu=True),
    )
    step()
    step()
    assert len(shown) >= 8
    assert shown == list(range(len(shown)))  # on and on through the stream
    assert not torch.equal(weights[0], weights[1])
    assert all(torch.equal(t, before[name]) for name, t in network.state_dict().items())
