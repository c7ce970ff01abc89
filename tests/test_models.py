"""Every network of the registry takes faces and gives logits, learns with all its weights, and can be kept and loaded.

They are also compared with the same networks written plainly; the simple CNNs' are the reference notebooks'.
"""

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

from src import models
from src.errors import UserError

PARAMETERS = {
    "simple_cnn_v0": 4_720_263,
    "simple_cnn_v1": 1_232_775,
    "simple_cnn_v2": 1_232_967,
    "compact_cnn": 639_079,
}
OWN_DROPOUT = {"simple_cnn_v0": [], "simple_cnn_v1": [0.3, 0.3], "simple_cnn_v2": [0.4, 0.4], "compact_cnn": [0.2]}
every_network = pytest.mark.parametrize("name", models.names())


def faces(n: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, 1, 48, 48, generator=torch.Generator().manual_seed(seed))


def make(name: str, seed: int = 0, dropout: float | None = None) -> nn.Module:
    """A network that has seen a few batches, so that its batch norms are not those of a new one."""
    torch.manual_seed(seed)
    net = models.create(name, dropout)
    if not net[-1].weight.any():
        nn.init.normal_(net[-1].weight, std=0.1)  # a last layer of zeros would hide all that stands before it
    with torch.no_grad():
        for i in range(2):
            net(2 * faces(4, seed=100 + i) + 0.5)
    return net.eval()


# -------------------------------------------------------------------------------------- for every network


@every_network
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("n", [2, 5])
def test_faces_go_in_and_finite_logits_come_out(name, n, training):
    logits = make(name).train(training)(faces(n))
    assert logits.shape == (n, 7) and logits.dtype == torch.float32
    assert logits.isfinite().all()


@every_network
def test_one_face_alone_can_be_predicted(name):
    assert make(name)(faces(1)).shape == (1, 7)


@every_network
def test_logits_of_different_faces_differ(name):
    assert len(make(name)(faces(5)).unique(dim=0)) == 5


@every_network
def test_every_parameter_gets_a_gradient(name):
    net = make(name).train()
    F.cross_entropy(net(faces(16)), torch.arange(16) % 7).backward()
    for key, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), key
        if parameter.ndim > 1:  # a bias before batch norm has none but rounding
            assert parameter.grad.abs().max() > 0, key


@every_network
def test_a_step_against_the_gradient_lowers_the_loss(name):
    net = make(name, dropout=0.0).train()
    x, y = faces(16), torch.arange(16) % 7
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3)
    before = F.cross_entropy(net(x), y)
    before.backward()
    optimizer.step()
    assert F.cross_entropy(net(x), y) < before


@every_network
def test_prediction_is_repeatable_and_leaves_the_network_as_it_is(name):
    net = make(name)
    state = {key: value.clone() for key, value in net.state_dict().items()}
    assert torch.equal(net(faces(4)), net(faces(4)))
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())


@every_network
def test_prediction_leaves_its_input(name):
    x = faces(3)
    make(name)(x)
    assert torch.equal(x, faces(3))


@every_network
def test_a_prediction_does_not_hang_on_the_other_faces_of_the_batch(name):
    net, x = make(name), faces(5)
    torch.testing.assert_close(net(x)[3:4], net(x[3:4]), atol=1e-4, rtol=1e-4)


@every_network
def test_a_seed_repeats_the_first_weights_and_another_differs(name):
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        states.append(torch.cat([p.flatten() for p in models.create(name).parameters()]))
    assert torch.equal(states[0], states[1]) and not torch.equal(states[0], states[2])


@every_network
def test_weights_that_are_kept_give_the_same_predictions(name, tmp_path):
    net, other = make(name, seed=1), make(name, seed=2)
    assert not torch.equal(net(faces(3)), other(faces(3)))
    save_file(net.state_dict(), tmp_path / "model.safetensors")
    other.load_state_dict(load_file(tmp_path / "model.safetensors"))
    assert torch.equal(net(faces(3)), other(faces(3)))


@every_network
def test_it_runs_in_bf16_and_stays_near(name):
    net, x = make(name), faces(4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = net(x)
    assert logits.dtype == torch.bfloat16
    torch.testing.assert_close(logits.float(), net(x), atol=0.05, rtol=0.05)


@every_network
def test_channels_last_gives_the_same(name):
    net, x = make(name), faces(4)
    expected = net(x)
    found = net.to(memory_format=torch.channels_last)(x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@every_network
def test_the_dropout_that_is_asked_for_takes_effect_in_training_alone(name):
    torch.manual_seed(0)
    for rate, same in ((0.0, True), (0.5, False)):
        net, x = make(name, dropout=rate).train(), faces(8)
        assert torch.equal(net(x), net(x)) == same
        assert all(m.p == rate for m in net.modules() if isinstance(m, nn.Dropout))
        assert torch.equal(net.eval()(x), net(x))


# ---------------------------------------------------------------------------------- what the docstrings say


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_number_of_parameters_is_the_documented_one(name):
    assert sum(p.numel() for p in models.create(name).parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", OWN_DROPOUT)
def test_without_a_rate_the_network_has_its_own_dropout(name):
    found = [m.p for _, m in models.create(name).named_modules(remove_duplicate=False) if isinstance(m, nn.Dropout)]
    assert found == OWN_DROPOUT[name]


# ------------------------------------------------------------------------------- the same, plainly written


def plain_v0(x: torch.Tensor, p: list) -> torch.Tensor:
    x = F.max_pool2d(F.relu(F.conv2d(x, p[0], p[1], padding=1)), 2)
    return F.linear(F.relu(F.linear(x.flatten(1), p[2], p[3])), p[4], p[5])


def plain_v1(x: torch.Tensor, p: list) -> torch.Tensor:
    for weight, bias in (p[0:2], p[2:4]):
        x = F.max_pool2d(F.relu(F.conv2d(x, weight, bias, padding=2)), 2)
    return F.linear(F.relu(F.linear(x.flatten(1), p[4], p[5])), p[6], p[7])


def plain_v2(x: torch.Tensor, p: list) -> torch.Tensor:
    for weight, bias, gain, offset in (p[0:4], p[4:8]):
        x = F.batch_norm(F.conv2d(x, weight, bias, padding=2), None, None, gain, offset, training=True)
        x = F.max_pool2d(F.relu(x), 2)
    return F.linear(F.relu(F.linear(x.flatten(1), p[8], p[9])), p[10], p[11])


def plain_compact(x: torch.Tensor, p: list) -> torch.Tensor:
    strides, pooled = (2, 1, 1, 1, 1, 1), (1, 3)  # a pooling after the second and the fourth
    for i, stride in enumerate(strides):
        weight, gain, offset = p[3 * i : 3 * i + 3]
        x = F.batch_norm(F.conv2d(x, weight, None, stride, 1), None, None, gain, offset, training=True)
        x = F.max_pool2d(F.relu(x), 2) if i in pooled else F.relu(x)
    return F.linear(x.mean((2, 3)), p[18], p[19])


PLAIN = {
    "simple_cnn_v0": plain_v0,
    "simple_cnn_v1": plain_v1,
    "simple_cnn_v2": plain_v2,
    "compact_cnn": plain_compact,
}


@pytest.mark.parametrize("name", PLAIN)
def test_a_network_is_the_plainly_written_one_in_value_and_gradient(name):
    net = make(name, dropout=0.0).train()
    x, y = faces(6), torch.arange(6)
    weights = [p.detach().clone().requires_grad_() for p in net.parameters()]
    found, expected = net(x), PLAIN[name](x, weights)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    F.cross_entropy(found, y).backward()
    F.cross_entropy(expected, y).backward()
    for mine, reference in zip(net.parameters(), weights, strict=True):
        torch.testing.assert_close(mine.grad, reference.grad, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", [name for name in models.names() if name.startswith("simple_cnn")])
def test_a_new_simple_network_finds_all_classes_equally_probable(name):
    assert torch.equal(models.create(name).eval()(faces(3)), torch.zeros(3, 7))


# ------------------------------------------------------------------------------------------- the registry


def test_a_network_has_the_name_of_its_function():
    assert models.names() == [models.NETWORKS[name].__name__ for name in models.names()]
    assert len(set(models.names())) == len(models.names()) >= len(PARAMETERS)


@pytest.mark.parametrize(("typo", "right"), [("simple_cnn_v11", "simple_cnn_v1"), ("compactcnn", "compact_cnn")])
def test_an_unknown_network_names_the_nearest_and_all(typo, right):
    with pytest.raises(UserError, match=rf"network={typo}: no such network; did you mean {right}\?") as error:
        models.create(typo)
    assert all(name in str(error.value) for name in models.names())


def test_a_name_that_is_like_none_is_refused_without_a_guess():
    with pytest.raises(UserError, match="network=zzz: no such network; there are"):
        models.create("zzz")
