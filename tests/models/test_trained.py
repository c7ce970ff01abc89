"""A finished member is loaded as the network that was trained, from run.json and its weights."""

import pytest
import safetensors.torch
import torch

from src import config, models, recipes
from src.config import Member
from src.errors import UserError
from src.models.trained import load_trained, member_of_training
from tests.support.networks import random_faces, seasoned

MEMBERS = ("cnn", "cnn-f1", "cnn-f1-s2")


def recipe(*names: str, **more) -> dict:
    template = config.as_dict(recipes.get("quick").members[0])
    return {"name": "r", "members": [template | {"name": name, "epochs": n + 1} | more for n, name in enumerate(names)]}


@pytest.mark.parametrize("settings", [{}, {"image_size": 64, "preprocessing": "equalize"}])
def test_the_loaded_network_gives_the_same_logits(tmp_path, settings):
    member = Member(name="m", network="deep_cnn_v2", **settings)
    net = seasoned(models.create_for(member))
    safetensors.torch.save_file(net.state_dict(), tmp_path / "model.safetensors")
    loaded = load_trained(member, tmp_path / "model.safetensors")
    assert not loaded.training and torch.equal(loaded(random_faces(3)), net(random_faces(3)))


def test_weights_of_another_network_and_no_weights_are_refused(tmp_path):
    file = tmp_path / "model.safetensors"
    net = models.create("deep_cnn_v2")
    safetensors.torch.save_file(net.state_dict(), file)
    with pytest.raises(UserError, match="not the weights of simple_cnn_v2"):
        load_trained(Member(name="m", network="simple_cnn_v2"), file)
    file.write_bytes(b"")
    with pytest.raises(UserError, match="an empty file"):
        load_trained(Member(name="m", network="simple_cnn_v2"), file)


@pytest.mark.parametrize(
    ("training", "epochs"),
    [("cnn", 1), ("cnn-f1", 2), ("cnn-f1-s2", 3), ("cnn-f3-s0", 1), ("cnn-s12", 1), ("cnn-f1-f4-s0", 2)],
)
def test_a_training_has_the_settings_of_its_member(training, epochs):
    member = member_of_training(recipe(*MEMBERS), training)
    assert (member.name, member.epochs) == (training, epochs)


@pytest.mark.parametrize("training", ["other", "cnn-x", "cnn-f1-s", "xcnn"])
def test_a_training_that_the_recipe_does_not_have_is_refused(training):
    with pytest.raises(UserError, match="does not say"):
        member_of_training(recipe(*MEMBERS), training)


@pytest.mark.parametrize("damaged", [{}, {"members": None}, {"members": [1, {}, {"name": 3}]}])
def test_a_damaged_recipe_is_refused(damaged):
    with pytest.raises(UserError, match="does not say"):
        member_of_training(damaged, "cnn")


def test_settings_of_an_older_run_have_their_defaults_and_unknown_ones_are_refused():
    settings = recipe("cnn")["members"][0]
    del settings["sam_rho"], settings["augment"]["flip"]
    member = config.member_from(settings)
    assert (member.sam_rho, member.augment.flip) == (Member(name="m").sam_rho, 0.0)
    with pytest.raises(UserError, match="unknown settings growing, size"):
        config.member_from(settings | {"size": 3, "growing": 0})
    for damage in ({"augment": {"turn": 1}}, {"augment": 7}, {"epochs": "3"}, {"network": None}):
        with pytest.raises(UserError, match=r"cnn|epochs|network"):
            config.member_from(settings | damage)
