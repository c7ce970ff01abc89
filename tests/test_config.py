"""Settings: each key is checked for name, type and range, an override changes what it names, the hash sees all."""

import dataclasses
import itertools
import json
import math
import os
import re
import subprocess
import sys
import typing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from src import recipes
from src.config import (
    NOT_HASHED,
    OTHER_CHOICES,
    OTHER_NAMES,
    Augment,
    Member,
    Recipe,
    as_dict,
    config_hash,
    hash_of_settings,
    keys,
    override,
    settable_fields,
)
from src.contradictions import configure
from src.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
TWO = Recipe(
    "two", "description", "published", (Member("first", epochs=3, lr=0.1), Member("second.b", epochs=4, lr=0.2))
)
CONFIGS = (Recipe, Member, Augment)
FIELDS = [(cls, f) for cls in CONFIGS for f in dataclasses.fields(cls) if f.name in settable_fields(cls)]
NUMBERS = [(cls, f) for cls, f in FIELDS if not isinstance(f.default, str)]
repeatable = examples(max_examples=150, derandomize=True, database=None, deadline=None)


def field_id(value):
    return value.__name__ if isinstance(value, type) else value.name


def key_of(cls, name: str, member: str = "first") -> str:
    """The key by which `override` reaches a field: of the recipe, or of one member."""
    return {Recipe: "", Member: f"{member}.", Augment: f"{member}.augment."}[cls] + name


def value_of(recipe: Recipe, cls, name: str, member: int = 0):
    return getattr({Recipe: recipe, Member: recipe.members[member], Augment: recipe.members[member].augment}[cls], name)


def another(f, value):
    """A valid value for the field that is not `value`."""
    if f.metadata["choices"]:
        return next(choice for choice in f.metadata["choices"] if choice != value)
    if f.name == "seeds":
        return "3,4" if value != "3,4" else "5"
    if isinstance(f.default, str):
        return f"{value}_other"
    low, high = f.metadata["low"], f.metadata["high"]
    if value != low:
        return low
    return low + 1 if low + 1 <= high else (low + high) / 2


def refused(assignment: str, recipe: Recipe = TWO) -> str:
    with pytest.raises(UserError) as error:
        override(recipe, [assignment])
    return str(error.value)


# ---------------------------------------------------------------------------------------- what can be set


@pytest.mark.parametrize(("cls", "f"), NUMBERS, ids=field_id)
def test_both_ends_of_a_range_are_allowed_and_what_lies_beyond_is_refused(cls, f):
    assert f.metadata["low"] < f.metadata["high"]
    base = override(TWO, ["folds=100"])
    for end, beyond in ((f.metadata["low"], -1), (f.metadata["high"], 1)):
        key, step = key_of(cls, f.name), beyond if isinstance(end, int) else beyond * end / 100
        assert value_of(override(base, [f"{key}={end!r}"]), cls, f.name) == end
        assert re.match(f"{f.name}=.*must lie between", refused(f"{key}={end + step!r}", base))


@pytest.mark.parametrize(("cls", "f"), [(c, f) for c, f in FIELDS if f.metadata["choices"]], ids=field_id)
def test_every_choice_is_allowed_and_a_typo_names_the_nearest(cls, f):
    for choice in f.metadata["choices"]:
        assert value_of(override(TWO, [f"{key_of(cls, f.name)}={choice}"]), cls, f.name) == choice
        message = refused(f"{key_of(cls, f.name)}={choice}x")
        assert f"did you mean {choice}?" in message and all(c in message for c in f.metadata["choices"])


def test_every_listed_key_is_taken_and_the_member_keys_reach_all_members():
    names = tuple(f"{m.name}." for m in TWO.members)
    for key in (k for k in keys(TWO) if not k.startswith(names)):
        f = next(f for cls, f in FIELDS if f.name == key.removeprefix("augment."))
        value = another(f, f.default)
        changed = override(TWO, [f"{key}={value}"])
        assert changed != TWO, key
        if key not in settable_fields(Recipe):
            homes = [m.augment if key.startswith("augment.") else m for m in changed.members]
            assert [getattr(home, f.name) for home in homes] == [value, value]


# ----------------------------------------------------------------------------------------------- override


@pytest.mark.parametrize("member", ["first", "second.b"])
@pytest.mark.parametrize(("cls", "f"), [(c, f) for c, f in FIELDS if c is not Recipe], ids=field_id)
def test_a_key_with_a_members_name_changes_that_member_alone(cls, f, member):
    at = [m.name for m in TWO.members].index(member)
    value = another(f, value_of(TWO, cls, f.name, at))
    changed = override(TWO, [f"{key_of(cls, f.name, member)}={value}"])
    assert value_of(changed, cls, f.name, at) == value
    assert changed.members[1 - at] == TWO.members[1 - at]
    assert dataclasses.replace(changed, members=TWO.members) == TWO


def test_of_two_names_that_both_fit_the_longer_is_the_member():
    recipe = Recipe("r", members=(Member("net"), Member("net.augment")))
    changed = override(recipe, ["net.augment.lr=0.5"])
    assert [m.lr for m in changed.members] == [1e-3, 0.5]


def test_a_bare_seed_is_the_recipes():
    changed = override(TWO, ["seed=5", "first.seed=2"])
    assert changed.seed == 5 and [m.seed for m in changed.members] == [2, 0]


def test_the_last_of_two_assignments_counts_and_no_assignment_changes_nothing():
    assert override(TWO, []) == TWO and override(TWO, ["  epochs = 7 "]) == override(TWO, ["epochs=7"])
    assert override(TWO, ["epochs=3", "epochs=7"]) == override(TWO, ["epochs=7"])


@pytest.mark.parametrize(
    "assignments",
    [
        ["folds=10", "fold=7"],
        ["lr=0.3", "first.lr=0.5", "second.b.epochs=9"],
        ["augment.flip=0.5", "first.augment.flip=0.25", "augment.shear=3"],
        ["fold=2", "folds=3", "seed=5", "first.seed=2"],
    ],
)
def test_the_order_of_assignments_does_not_matter(assignments):
    (changed,) = {override(TWO, list(order)) for order in itertools.permutations(assignments)}
    assert changed != TWO


def test_a_members_setting_goes_before_that_of_all_members():
    assert [m.lr for m in override(TWO, ["first.lr=0.5", "lr=0.3"]).members] == [0.5, 0.3]


@pytest.mark.parametrize("text", ["none", "None", "NONE"])
def test_none_takes_an_optional_setting_back(text):
    set_first = override(TWO, ["dropout=0.5", "max_train_rows=20"])
    assert set_first.max_train_rows == 20 and set_first.members[0].dropout == 0.5
    assert override(set_first, [f"dropout={text}", f"max_train_rows={text}"]) == TWO


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("epochs=many", "epochs=many: a whole number is needed"),
        ("epochs=1.5", "epochs=1.5: a whole number is needed"),
        ("epochs=none", "epochs=none: a whole number is needed"),
        ("lr=fast", "lr=fast: a number is needed"),
        ("lr=nan", "lr=nan: it must lie between"),
        ("lr=inf", "lr=inf: it must lie between"),
        ("fold=5", "with folds=5 it can be 0 to 4"),
        ("epochs", "--set epochs: write key=value, without spaces"),
        ("lr=0.1,epochs=3", "lr=0.1,epochs=3: a number is needed; separate settings by spaces"),
        ("flip=0.5", "did you mean augment.flip?"),
        ("device=cpu", "it is the option --device"),
        ("learning-rate=1", "it is called lr"),
        ("Weight_Decay=1", "did you mean weight_decay?"),
        ("schedule=ReduceLROnPlateau", "it is called plateau"),
        ("time_budget_hours=0", "time_budget_hours=0.0: it must lie between 0.001 and"),
        ("", "--set : write key=value"),
        ("=3", "no such setting"),
        ("epoch=3", "epoch: no such setting; did you mean epochs?"),
        ("rotation=10", "did you mean augment.rotation?"),
        ("augment.rotate=10", "did you mean augment.rotation?"),
        ("first.epoch=3", "did you mean epochs?"),
        ("batch=32", "batch: no such setting; it is called batch_size"),
        ("learning_rate=1", "it is called lr"),
        ("first.model=vit", "first.model: no such setting; it is called network"),
        ("tta=plain", "choose one of none, flip, five, ten, scales; it is called none"),
        ("normalization=own", "it is called pretrained"),
        ("qqqq=1", "qqqq: no such setting (`recipes two` lists them)"),
    ],
)
def test_a_wrong_assignment_is_refused_with_its_reason(assignment, message):
    assert message in refused(assignment)


def test_every_other_name_leads_to_a_setting_or_a_choice():
    choices = {choice for _, f in FIELDS for choice in f.metadata["choices"] or ()}
    assert set(OTHER_NAMES.values()) <= set(keys(TWO)) and not OTHER_NAMES.keys() & set(keys(TWO))
    assert set(OTHER_CHOICES.values()) <= choices and not OTHER_CHOICES.keys() & choices


@pytest.mark.parametrize(
    "key",
    ["name", "description", "published", "members", "augment", "first.name", "first.augment", "first", "third.lr"],
)
def test_names_texts_and_whole_groups_cannot_be_set(key):
    assert "no such setting" in refused(f"{key}=x")


def test_a_recipes_key_with_a_members_name_is_refused_in_full_and_not_offered():
    message = refused("first.folds=3")
    assert message.startswith("first.folds: no such setting") and "did you mean folds?" not in message


@repeatable
@given(
    st.sampled_from([*keys(TWO), "first.lr", "first.augment.flip", "second.b.seed", "third.lr"]), st.text(max_size=8)
)
def test_any_text_gives_a_valid_recipe_or_the_users_error(key, text):
    try:
        changed = override(TWO, [f"{key}={text}"])
    except UserError as error:
        assert len(str(error).splitlines()) <= 2 or len(text.splitlines()) > 1
    else:
        assert json.loads(json.dumps(as_dict(changed), allow_nan=False)) == as_dict(changed)


# ------------------------------------------------------------------------- settings written in the source


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"epochs": "3"}, "epochs='3': a value of type int is needed"),
        ({"epochs": 3.0}, "epochs=3.0: a value of type int is needed"),
        ({"epochs": True}, "epochs=True: a value of type int is needed"),
        ({"epochs": None}, "epochs=None: a value of type int is needed"),
        ({"lr": "0.1"}, "lr='0.1': a value of type float is needed"),
        ({"lr": True}, "lr=True: a value of type float is needed"),
        ({"dropout": "none"}, "dropout='none': a value of type float is needed"),
        ({"network": None}, "network=None: a value of type str is needed"),
        ({"augment": {"flip": 0.5}}, "a value of type Augment is needed"),
        ({"lr": math.nan}, "lr=nan: it must lie between"),
        ({"batch_size": 1}, "batch_size=1: it must lie between 2 and"),
        ({"optimizer": "Adam"}, "optimizer=Adam: choose one of adam, adamw, sgd; did you mean adam?"),
    ],
)
def test_a_member_in_the_source_passes_the_same_check(wrong, message):
    with pytest.raises(UserError, match=re.escape(message)):
        Member("m", **wrong)


def test_a_whole_number_in_the_source_becomes_a_fraction_where_one_is_declared():
    made = (Member("m", lr=1, dropout=0), Augment(rotation=15))
    for config in made:
        for f in dataclasses.fields(config):
            if typing.get_type_hints(type(config))[f.name] is float:
                assert type(getattr(config, f.name)) is float, f.name
    assert type(made[0].dropout) is float


@pytest.mark.parametrize("name", ["", "a/b", "..", "../x", "a b", ".hidden", "-option", "Ärger", "a\n", "a\\b"])
def test_a_members_name_that_is_no_safe_file_name_is_refused(name):
    with pytest.raises(UserError, match="becomes a file name"):
        Member(name)


@pytest.mark.parametrize("members", [(), (Member("a"), Member("b"), Member("a"))])
def test_a_recipe_needs_members_with_different_names(members):
    with pytest.raises(UserError, match="recipe r: it needs members with different names"):
        Recipe("r", members=members)


@pytest.mark.parametrize("fold", ["all", "none"])
def test_a_recipe_that_validates_its_training_rows_has_one_fold(fold):
    with pytest.raises(UserError, match=f"valid=train validates the training rows, which fold={fold} contradicts"):
        Recipe("r", members=(Member("a"),), valid="train", fold=fold)


@pytest.mark.parametrize("blend", ["mean", "log_mean", "auto"])
def test_without_validation_rows_a_blend_that_needs_none_is_allowed(blend):
    assert Recipe("r", members=(Member("a"),), fold="none", blend=blend).blend == blend


def test_seeds_that_give_one_network_twice_are_refused():
    members = Member("a"), Member("b", seed=1), Member("c", network="linear", seed=1)
    with pytest.raises(UserError, match="b with seed 0 and a with seed 1 would be the same network"):
        Recipe("r", members=members, seeds="0,1")
    assert Recipe("r", members=members, seeds="0,10").seeds == "0,10"
    equal = Member("a"), Member("b")  # on purpose, as in a test
    assert Recipe("r", members=equal, seeds="0,1").seeds == "0,1"


def test_a_members_own_seed_goes_with_several_seeds():
    assert configure(TWO, ["seeds=0,10", "first.seed=3"]).members[0].seed == 3
    with pytest.raises(UserError, match="seed=3 needs seeds=none"):
        configure(TWO, ["seeds=0,10", "seed=3"])


# ------------------------------------------------------------------------------------- as_dict and config_hash


def from_dict(plain: dict) -> Recipe:
    members = (Member(**m | {"augment": Augment(**m["augment"])}) for m in plain["members"])
    return Recipe(**plain | {"members": tuple(members)})


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_a_recipe_can_be_made_again_from_its_dict(name):
    recipe = override(recipes.get(name), ["lr=0.123", "augment.shear=7", "max_train_rows=99", "dropout=0.25"])
    plain = as_dict(recipe)
    assert from_dict(plain) == recipe
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain


@pytest.mark.parametrize(("cls", "f"), [pair for pair in FIELDS if pair[1].name not in NOT_HASHED], ids=field_id)
def test_the_hash_changes_with_every_setting_and_back(cls, f):
    key, old = key_of(cls, f.name), value_of(TWO, cls, f.name)
    changed = override(TWO, [f"{key}={another(f, old)}"])
    assert config_hash(changed) != config_hash(TWO)
    assert config_hash(override(changed, [f"{key}={old}"])) == config_hash(TWO)


def test_a_setting_that_is_new_since_a_run_does_not_change_the_runs_hash():
    recorded = as_dict(override(TWO, ["first.lr=0.3", "second.b.augment.flip=0.5", "folds=7"]))
    of_now = hash_of_settings(recorded)
    for settings in (recorded, *recorded["members"], *(m["augment"] for m in recorded["members"])):
        for key in [k for k in settings if k in ("valid", "tta", "label_smoothing", "erase")]:
            del settings[key]  # as if the run were older than the setting
    assert hash_of_settings(recorded) == of_now == config_hash(from_dict(recorded))


@pytest.mark.parametrize("file", sorted(ROOT.glob("results/*/run.json")), ids=lambda file: file.parent.name)
def test_a_recorded_run_has_the_hash_of_its_settings_today(file):
    run = json.loads(file.read_text(encoding="utf-8"))
    if run.get("blend"):  # it has no settings of its own
        assert not run["recipe"].get("members")
    else:
        assert run["config_hash"] == config_hash(from_dict(run["recipe"]))


def test_the_hash_changes_with_names_and_with_the_members_and_their_order():
    one, two = TWO.members
    others = [
        dataclasses.replace(TWO, name="other"),
        dataclasses.replace(TWO, members=(two, one)),
        dataclasses.replace(TWO, members=(one,)),
        dataclasses.replace(TWO, members=(dataclasses.replace(one, name="x"), two)),
    ]
    assert len({config_hash(recipe) for recipe in [TWO, *others]}) == 5


@pytest.mark.parametrize(
    "change",
    [
        {"form": "no_header"},
        {"time_budget_hours": 3.0},
        {"description": "x"},
        {"published": "x"},
        {"data_folder": "fer2013"},
    ],
)
def test_the_hash_does_not_change_with_texts_the_form_of_the_submission_the_time_budget_and_the_folder(change):
    assert config_hash(dataclasses.replace(TWO, **change)) == config_hash(TWO)


def test_the_hash_is_the_same_in_every_process():
    command = "from src import config, recipes; print(config.config_hash(recipes.get('quick')))"
    for hash_seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": hash_seed}
        printed = subprocess.check_output([sys.executable, "-c", command], text=True, env=environment, cwd=ROOT)
        assert printed.strip() == config_hash(recipes.get("quick"))
