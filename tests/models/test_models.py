"""Every network of the registry takes faces and gives logits, learns with all its weights, and can be kept and loaded.

Each is made once for all these tests. What is particular to a family is in test_cnn, test_resnet and test_timm.
"""

import copy
from dataclasses import dataclass

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from src import models
from src.errors import UserError
from src.member import save_weights
from tests.support.networks import faces, make, parameters

PARAMETERS = {
    "simple_cnn_v0": 4_720_263,
    "simple_cnn_v1": 1_232_775,
    "simple_cnn_v2": 1_232_967,
    "deep_cnn_v1": 524_999,
    "deep_cnn_v2": 366_599,
    "attention_cnn": 325_886,
    "compact_cnn": 639_079,
    "resnet18": 11_173_831,
    "resnet34": 21_281_991,
    "resnet50": 23_516_103,
    "resnet18_48": 11_171_271,
    "resnet34_48": 21_279_431,
    "vit": 5_427_463,
    "mobilevit_xxs": 952_983,
}
FAMILIES = {
    "simple_cnn": ("simple_cnn_v0", "simple_cnn_v1", "simple_cnn_v2"),
    "deep_cnn": ("deep_cnn_v1", "deep_cnn_v2"),
    "attention_cnn": ("attention_cnn",),
    "compact_cnn": ("compact_cnn",),
    "resnet": ("resnet18", "resnet34", "resnet50", "resnet18_48", "resnet34_48"),
    "vit": ("vit",),
    "mobilevit": ("mobilevit_xxs",),
    "timm": ("timm:test_resnet",),
}
# With other seeds both hidden units of the first channel attention can be dead: they are two, and all that comes in is
# positive, so a unit is above zero for all images or for none.
SEEDS = {"attention_cnn": 1}


@dataclass
class Case:
    """One network in evaluation, faces, and what it says about them. A test that changes the network copies it."""

    name: str
    net: nn.Module
    x: Tensor
    logits: Tensor


@pytest.fixture(scope="module", params=models.names())
def case(request) -> Case:
    net, x = make(request.param, SEEDS.get(request.param, 0)), faces(3)
    with torch.no_grad():
        return Case(request.param, net, x, net(x))


@dataclass
class Step:
    """A network's gradients at a batch, and its loss there before and after one step against them."""

    gradients: dict[str, Tensor | None]
    before: float
    after: float


@pytest.fixture(scope="module")
def step(case) -> Step:
    net, y = copy.deepcopy(case.net).train(), torch.arange(4)

    def loss() -> Tensor:
        torch.manual_seed(3)  # both times the same dropout
        return F.cross_entropy(net(faces(4, seed=1)), y)

    before = loss()
    before.backward()
    with torch.no_grad():
        slope = sum(p.grad.square().sum() for p in net.parameters())
        for p in net.parameters():
            p -= 1e-3 * before / slope * p.grad  # so that the loss falls by a thousandth, were it linear
        return Step({key: p.grad for key, p in net.named_parameters()}, before.item(), loss().item())


def near(case: Case, found: Tensor, share: float) -> bool:
    """Whether logits are the case's, but for a share of the largest."""
    return (found - case.logits).abs().max() <= share * case.logits.abs().max()


# -------------------------------------------------------------------------------------- for every network


def test_faces_go_in_and_finite_logits_come_out(case):
    assert case.logits.shape == (3, 7) and case.logits.dtype == torch.float32
    assert case.logits.isfinite().all()


def test_logits_of_different_faces_differ(case):
    assert len(case.logits.unique(dim=0)) == 3


@torch.no_grad()
def test_prediction_is_repeatable_and_leaves_its_input_and_the_network_as_they_are(case):
    state = {key: value.clone() for key, value in case.net.state_dict().items()}
    assert torch.equal(case.net(case.x), case.logits)
    assert torch.equal(case.x, faces(3))
    assert all(torch.equal(value, state[key]) for key, value in case.net.state_dict().items())


@torch.no_grad()
def test_one_face_alone_is_predicted_as_it_is_among_others(case):
    alone = case.net(case.x[1:2])
    assert alone.shape == (1, 7)
    assert (alone - case.logits[1:2]).abs().max() <= 1e-4 * case.logits.abs().max()


def test_every_parameter_gets_a_gradient(step):
    for key, gradient in step.gradients.items():
        assert gradient is not None and gradient.isfinite().all(), key
        if gradient.ndim > 1:  # a bias before batch norm has none but rounding
            assert gradient.abs().max() > 0, key


def test_a_step_against_the_gradient_lowers_the_loss(step):
    assert step.after < step.before


@torch.no_grad()
def test_weights_that_are_kept_give_the_same_predictions(case, tmp_path):
    """Saved as a run saves them, from the memory format in which networks are trained."""
    trained = copy.deepcopy(case.net).to(memory_format=torch.channels_last)
    save_weights(trained, tmp_path / "model.safetensors")
    torch.manual_seed(9)
    other = models.create(case.name).eval()
    assert not torch.equal(other(case.x), case.logits)
    other.load_state_dict(load_file(tmp_path / "model.safetensors"))
    assert torch.equal(other(case.x), case.logits)


@torch.no_grad()
def test_it_runs_in_bf16_and_stays_near(case):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = case.net(case.x[:1])
    assert logits.dtype == torch.bfloat16
    assert (logits.float() - case.logits[:1]).abs().max() <= 0.15 * case.logits[:1].abs().max()


@torch.no_grad()
def test_channels_last_gives_the_same(case):
    net = copy.deepcopy(case.net).to(memory_format=torch.channels_last)
    assert near(case, net(case.x.contiguous(memory_format=torch.channels_last)), 1e-4)


def head_input(net: nn.Module, x: Tensor, dropping: bool) -> Tensor:
    """What comes to the last layer where the layers of `dropout` alone are in training."""
    seen = []
    for layer in net.modules():
        layer.training = dropping and isinstance(layer, nn.Dropout)
    hook = models.head_of(net).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    with torch.no_grad():
        net(x)
    hook.remove()
    return seen[0]


def test_the_dropout_that_is_asked_for_is_before_the_last_layer_and_in_training_alone(case):
    net, x = models.create(case.name, dropout=0.95), case.x[:2]
    dropped, whole = (head_input(net, x, dropping) for dropping in (True, False))
    assert (dropped == 0).float().mean() > 0.9 > 0.85 > (whole == 0).float().mean()
    assert torch.equal(head_input(net, x, False), whole)


def test_no_dropout_can_be_asked_for(case):
    net, x = models.create(case.name, dropout=0.0), case.x[:2]
    assert torch.equal(head_input(net, x, True), head_input(net, x, False))


def test_the_last_layer_is_found_and_no_other_gives_the_logits(case):
    head = models.head_of(case.net)
    assert head.out_features == 7
    with torch.no_grad():
        found = head(head_input(copy.deepcopy(case.net), case.x, False))
    assert near(case, found, 1e-6)


def test_the_number_of_parameters_is_the_documented_one(case):
    assert parameters(case.net) == PARAMETERS[case.name]


# ------------------------------------------------------------------------------------------- the registry


@pytest.mark.parametrize("name", [name for name in models.names() if "34" not in name and "50" not in name])
def test_a_seed_repeats_the_first_weights_and_another_differs(name):
    """The deeper ResNets are made by the function that makes the others."""
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        states.append(torch.cat([p.detach().flatten() for p in models.create(name).parameters()]))
    assert torch.equal(states[0], states[1]) and not torch.equal(states[0], states[2])


def test_a_network_has_the_name_of_its_function():
    assert models.names() == [models.NETWORKS[name].__name__ for name in models.names()]
    assert set(models.names()) == set(PARAMETERS)


@pytest.mark.parametrize("name", [*models.names(), "timm:test_resnet"])
def test_a_network_has_the_family_whose_file_it_is_in(name):
    assert name in FAMILIES[models.family(name)]


@pytest.mark.parametrize("name", models.names())
def test_all_networks_were_made_for_faces_but_the_vit_and_mobilevit(name):
    assert models.native_image_size(name) == {"vit": 224, "mobilevit_xxs": 64}.get(name, 48)


@pytest.mark.parametrize(
    ("typo", "right"),
    [("simple_cnn_v11", "simple_cnn_v1"), ("compactcnn", "compact_cnn"), ("resnet-50", "resnet50"), ("VIT", "vit")],
)
def test_an_unknown_network_names_the_nearest_and_all(typo, right):
    with pytest.raises(UserError, match=rf"network={typo}: no such network; did you mean {right}\?") as error:
        models.create(typo)
    assert all(name in str(error.value) for name in [*models.names(), "timm:<name>"])


def test_a_name_that_is_like_none_is_refused_without_a_guess():
    with pytest.raises(UserError, match="network=zzz: no such network; there are"):
        models.create("zzz")
