import math

import pytest
import torch

from poseling.distill.hooks import HookedStudent
from poseling.models import registry
from poseling.train.optim import Average, Training, depths, optimizer


def test_steps_are_epochs_over_the_samples():
    assert Training(epochs=140, batch=32).steps(1000) == 4375  # 140 * 1000 / 32
    assert Training(epochs=0.5, batch=4).steps(9) == 1  # 1.125
    assert Training(epochs=0.01, batch=32).steps(10) == 1


def test_step_falls_to_a_tenth_at_each_milestone():
    """FPD's MPII run: 140 epochs, 2.5e-4, a tenth after 90 and after 120."""
    training = Training(epochs=140)
    rates = [training.rate(epoch * 100, 14000) for epoch in (0, 89.99, 90, 119.99, 120, 139.99)]
    assert rates == pytest.approx([2.5e-4, 2.5e-4, 2.5e-5, 2.5e-5, 2.5e-6, 2.5e-6])


def test_cosine_and_constant():
    training = Training(learning_rate=2.0, schedule="cosine")
    assert [training.rate(step, 8) for step in (0, 2, 4, 6)] == pytest.approx(
        [2.0, 1 + math.sqrt(0.5), 1.0, 1 - math.sqrt(0.5)]
    )
    assert {Training(learning_rate=2.0, schedule="constant").rate(step, 8) for step in range(8)} == {2.0}


def test_warmup_is_a_straight_ramp():
    training = Training(learning_rate=1.0, schedule="constant", warmup=10)
    assert [training.rate(step, 100) for step in (0, 1, 4, 9, 10, 99)] == pytest.approx(
        [0.1, 0.2, 0.5, 1.0, 1.0, 1.0]
    )


def test_one_cycle_by_hand():
    """From a 25th up to the rate at 30 % of the run, half way down at 65 %, nothing at the end."""
    training = Training(learning_rate=5.0, schedule="one_cycle")
    assert [training.rate(step, 1000) for step in (0, 150, 300, 650)] == pytest.approx([0.2, 2.6, 5.0, 2.5])
    assert 0 < training.rate(999, 1000) < 1e-4


def test_one_cycle_is_torchs():
    steps, training = 2000, Training(learning_rate=1.0, schedule="one_cycle")
    driver = torch.optim.SGD([torch.zeros(1, requires_grad=True)])
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        driver, 1.0, total_steps=steps, div_factor=25, final_div_factor=1e9, cycle_momentum=False
    )
    for step in range(steps):
        # Torch reaches the top and the end one step earlier: a two-thousandth of the run, and so much of the
        # slope.
        assert training.rate(step, steps) == pytest.approx(
            schedule.get_last_lr()[0], abs=2 * math.pi / 0.3 / steps
        )
        driver.step()
        schedule.step()


def test_only_weights_of_two_dimensions_decay():
    network = registry.build("hourglass-1x8", 3)
    driver = optimizer(network, Training(optimizer="adamw", weight_decay=0.05, learning_rate=1e-3))
    assert isinstance(driver, torch.optim.AdamW)
    decayed, others = driver.param_groups
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.05, 0.0)
    names = {id(p): name for name, p in network.named_parameters()}
    assert {names[id(p)] for p in decayed["params"]} == {
        name
        for name in names.values()
        if name.endswith("weight") and "norm" not in name and ".1.w" not in name
    }
    assert len(decayed["params"]) + len(others["params"]) == len(names)


def test_layer_decay_by_hand():
    """Fourteen depths in a transformer of twelve layers: 0.5^13 for what comes before the layers, 1 behind
    them; norms and biases do not decay.
    """
    network = registry.build("vitpose-t-simple", 3, (32, 32))
    driver = optimizer(network, Training(optimizer="adamw", weight_decay=0.1, layer_decay=0.5))
    scale = {
        id(p): (group["scale"], group["weight_decay"])
        for group in driver.param_groups
        for p in group["params"]
    }
    told = {name: scale[id(p)] for name, p in network.named_parameters()}
    assert len(scale) == len(told)
    for name, wanted in (
        ("backbone.vit.embeddings.position_embeddings", 0.5**13),
        ("backbone.vit.encoder.layer.0.mlp.fc1.weight", 0.5**12),
        ("backbone.vit.encoder.layer.11.mlp.fc1.bias", 0.5),
        ("backbone.vit.layernorm.weight", 1.0),
        ("head.conv.weight", 1.0),
    ):
        assert told[name][0] == wanted, name
    assert told["backbone.vit.encoder.layer.11.mlp.fc1.bias"][1] == 0
    with pytest.raises(ValueError, match=r"layer_decay 0\.5 is for networks with a depth for each layer"):
        optimizer(torch.nn.Linear(2, 2), Training(layer_decay=0.5))


def test_layer_decay_reaches_into_hooks():
    """A hooked network has its own depths, and its adapters the head's."""
    network = registry.build("vitpose-t-simple", 3, (32, 32))
    hooked = HookedStudent(network, {}, {"features": torch.nn.Conv2d(2, 2, 1)})
    found = depths(hooked)
    assert found == {f"network.{name}": at for name, at in depths(network).items()} | {
        "adapters.features.weight": 13,
        "adapters.features.bias": 13,
    }
    scales = {g["scale"] for g in optimizer(hooked, Training(layer_decay=0.5)).param_groups}
    assert scales == {0.5**at for at in range(14)}
    assert depths(HookedStudent(torch.nn.Linear(2, 2), {}, {})) is None


def test_one_step_of_adamw_by_hand():
    """Adam's first step is the rate times the sign of the gradient; decay takes rate * decay of the weight
    before it.
    """
    network = torch.nn.Linear(1, 1)
    torch.nn.init.constant_(network.weight, 2.0)
    torch.nn.init.constant_(network.bias, 3.0)
    driver = optimizer(network, Training(optimizer="adamw", weight_decay=0.5, learning_rate=0.1))
    network(torch.ones(1, 1)).sum().backward()
    driver.step()
    assert network.weight.item() == pytest.approx(2 * (1 - 0.05) - 0.1)
    assert network.bias.item() == pytest.approx(3 - 0.1)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW), ("rmsprop", torch.optim.RMSprop)],
)
def test_optimisers_by_name(name, kind):
    assert type(optimizer(torch.nn.Linear(2, 2), Training(optimizer=name))) is kind


def test_the_average_by_hand():
    """Decays 1/10, 2/11 and 3/12 at first, and never above the one wanted, here 0.2: weights of 0 that become
    1, 2, 4.
    """
    network = torch.nn.BatchNorm1d(1)
    torch.nn.init.zeros_(network.weight)
    average = Average(network, 0.2)
    expected = 0.0
    for step, (weight, decay) in enumerate([(1.0, 0.1), (2.0, 2 / 11), (4.0, 0.2)]):
        with torch.no_grad():
            network.weight.fill_(weight)
            network.running_mean.fill_(10 * weight)
        network.num_batches_tracked += 1
        average.update(network, step)
        expected = decay * expected + (1 - decay) * weight
        assert average.network.weight.item() == pytest.approx(expected)
        assert average.network.running_mean.item() == pytest.approx(10 * expected)
        assert average.network.num_batches_tracked == step + 1  # counted, not averaged
    assert network.weight.item() == 4
    assert not average.network.weight.requires_grad


def test_a_long_run_has_the_decay_that_was_asked_for():
    network = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(network.weight)
    average = Average(network, 0.999)
    torch.nn.init.ones_(network.weight)
    average.update(network, 8990)  # 8991 / 9000 is 0.999
    assert average.network.weight.item() == pytest.approx(0.001, rel=1e-3)
    average.update(network, 10**6)
    assert average.network.weight.item() == pytest.approx(0.001 * 0.999 + 0.001, rel=1e-3)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("epochs", 0, "epochs is 0"),
        ("batch", -1, "batch is -1"),
        ("learning_rate", 0.0, "learning_rate is 0"),
        ("ema", 1.0, "ema is 1.0; it is a decay"),
        ("save_every", 0, "save_every is 0"),
    ],
)
def test_numbers_that_make_no_run(field, value, message):
    with pytest.raises(ValueError, match=message):
        Training(**{field: value})
