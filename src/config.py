"""Settings: frozen dataclasses, overrides from the command line, and the hash that tells two configurations apart.

A `Recipe` holds `Member`s, and a member holds its `Augment`. Every field declares its type and its range, so that a
recipe in the source and `--set key=value` pass the same check. An unknown key is an error that names the nearest one.
"""

import dataclasses
import difflib
import hashlib
import json
import re
import types
import typing
from dataclasses import dataclass, field

from src.dataset import IMAGE_SIZE
from src.errors import UserError

COPIES = ("predicted", "labelled", "labelled+near")
BLENDS = ("mean", "log_mean", "greedy", "weights", "stacking", "temperature", "auto")
UNFITTED_BLENDS = ("mean", "log_mean")  # these need no validation rows
TTA = ("none", "flip", "five", "ten", "scales")  # sets of views
NOT_SETTABLE = ("name", "description", "published", "members", "augment")
TRACKERS = ("none", "wandb", "tensorboard", "wandb+tensorboard")
_FOR_PEOPLE = ("description", "published", "track", "attention_maps_every")
NOT_HASHED = (*_FOR_PEOPLE, "form", "time_budget_hours", "data_folder")

# Words that people use for a setting or a choice, by the name here: the error message names it.
# fmt: off
WORDS = {
    "attention_maps_every": "attention attention_maps cam_every grad_cam gradcam",
    "batch_size": "batch batchsize bs mini_batch train_batch_size",
    "class_balancing": "balance balancing class_weight class_weights imbalance sampler",
    "copies": "duplicates duplicate leak", "cosine_epochs": "t_0 t_max",
    "data_folder": "data_dir data_path dataset_dir",
    "dropout": "drop drop_rate dropout_rate p_dropout",
    "early_stopping_patience": "early_stop early_stopping es_patience patience", "ema": "ema_decay",
    "epochs": "max_epochs n_epochs nb_epoch num_epochs train_epochs", "fold": "fold_id fold_index",
    "folds": "k_fold k_folds kfold n_folds n_splits num_folds", "freeze_epochs": "freeze freeze_backbone",
    "image_size": "img_size input_size resolution size", "initial_image_size": "first_side",
    "label_smoothing": "smoothing", "layer_decay": "llrd lr_layer_decay",
    "lr": "base_lr initial_lr learning_rate learningrate max_lr",
    "lr_factor": "decay_factor gamma", "max_train_rows": "limit max_rows n_rows nrows rows subset",
    "network": "arch architecture backbone encoder model model_name net", "normalization": "norm normalize",
    "optimizer": "optim optimiser", "precision": "amp dtype mixed_precision", "pretrained": "checkpoint init weights",
    "resize_fraction": "growing", "schedule": "lr_schedule lr_scheduler sched scheduler",
    "seed": "random_seed random_state", "time_budget_hours": "hours max_hours time_limit",
    "track": "log_to logger report_to tracker trackers tracking",
    "tta": "test_time_augmentation views", "warmup_fraction": "pct_start warmup warmup_ratio", "weight_decay": "l2 wd",
    "augment.contrast": "contrast_range", "augment.erase": "cutout random_erasing",
    "augment.flip": "hflip horizontal_flip", "augment.rotation": "degrees rotate rotation_range",
    "augment.scale": "zoom zoom_range", "augment.resized_crop": "random_resized_crop",
    "augment.shift": "crop height_shift_range random_crop translate translation width_shift_range",
    "soft_targets": "distill distillation teacher", "pseudo_labels": "pseudo_label pseudolabels",
    "drop_path": "drop_path_rate stochastic_depth", "preprocessing": "preprocess", "sam_fraction": "sam",
    "sam_rho": "rho", "mix_probability": "mix_prob mixup_prob", "mixup": "mixup_alpha", "cutmix": "cutmix_alpha",
}
# fmt: on
OTHER_NAMES = {word: key for key, words in WORDS.items() for word in words.split()}
OPTIONS = ("recipe", "input", "output", "device", "nproc", "overwrite")  # of the command line, and no settings
OTHER_CHOICES = {
    "faces": "dataset",
    "own": "pretrained",
    "plain": "none",
    "off": "none",
    "false": "none",
    "hosts": "no_header",
    "hflip": "flip",
    "true": "flip",
    "standardise": "standardize",
    "equalise": "equalize",
    "hist_eq": "equalize",
    "onecycle": "one_cycle",
    "cosine_annealing": "cosine",
    "reduce_on_plateau": "plateau",
    "reducelronplateau": "plateau",
    "fp32": "float32",
    "bfloat16": "bf16",
    "float16": "fp16",
    "half": "fp16",
}


# ---------------------------------------------------------------------------------------------- fields


def setting(default, help, low=None, high=None, choices=None):
    """A dataclass field with a default, a line of help, and its range (both ends allowed) or its choices."""
    return field(default=default, metadata={"help": help, "low": low, "high": high, "choices": choices})


class Checked:
    """A dataclass that checks its fields against their declared types and ranges when it is made."""

    def __post_init__(self):
        kinds = typing.get_type_hints(type(self))
        for f in dataclasses.fields(self):
            value = check_type(f.name, getattr(self, f.name), kinds[f.name])
            object.__setattr__(self, f.name, value)  # an int has become a float where a float is declared
            check_range(f.name, value, f.metadata)


def check_type(name: str, value, kind):
    """`value` as the declared `kind` (an int passes as a float, nothing else is converted); else UserError."""
    if isinstance(kind, types.UnionType):  # `X | None`, or `X | str` for a value that can be a word
        first, other = typing.get_args(kind)
        return value if isinstance(value, other) else check_type(name, value, first)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise UserError(f"{name}={value!r}: a value of type {kind.__name__} is needed")
    return value


def check_range(name: str, value, meta) -> None:
    """Raises UserError if `value` is outside the field's range or choices."""
    choices, low, high = meta.get("choices"), meta.get("low"), meta.get("high")
    if choices and isinstance(value, str):
        if value not in choices:
            ways = "a number, or one of" if low is not None else "one of"
            raise UserError(f"{name}={value}: choose {ways} {', '.join(choices)}{hint(value, choices, OTHER_CHOICES)}")
    elif value is not None and low is not None and not low <= value <= high:  # this also catches nan
        raise UserError(f"{name}={value}: it must lie between {low:,} and {high:,}")


def nearest(word: str, known) -> str:
    """`; did you mean X?` with the known word nearest to `word`, or nothing if none is near."""
    found = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.5)
    return f"; did you mean {found[0]}?" if found else ""


def hint(word: str, known, other: dict[str, str]) -> str:
    """`; it is called X` if `other` has a known name for the word, else the nearest known word."""
    word = word.lower().replace("-", "_")
    name = other.get(word)
    return f"; it is called {name}" if name in known else nearest(word, known)


# -------------------------------------------------------------------------------------------- settings


@dataclass(frozen=True)
class Augment(Checked):
    """Random changes of training images; each image draws its own parameters. Zero turns a change off."""

    rotation: float = setting(0.0, "rotation by up to ± this many degrees", 0, 180)
    flip: float = setting(0.0, "probability of a horizontal flip", 0, 1)
    shift: float = setting(0.0, "translation by up to ± this fraction of the image size, each way", 0, 1)
    scale: float = setting(0.0, "scaling by 1 ± up to this", 0, 0.9)
    shear: float = setting(0.0, "shear by up to ± this many degrees", 0, 80)
    brightness: float = setting(0.0, "brightness times 1 ± up to this", 0, 1)
    contrast: float = setting(0.0, "contrast times 1 ± up to this", 0, 1)
    resized_crop: float = setting(0.0, "enlarges a random part with at least this fraction of the image's area", 0, 1)
    erase: float = setting(0.0, "probability that a rectangle of the image is erased", 0, 1)
    erase_max_area: float = setting(0.33, "largest fraction of the image to erase; the smallest is 0.02", 0.02, 1)


@dataclass(frozen=True)
class Member(Checked):
    """One network with its training settings."""

    name: str = setting("", "the member's name: letters, digits, '_', '-' and '.'")
    network: str = setting("simple_cnn_v1", "a registered network, or timm:<name>")
    dropout: float | None = setting(None, "dropout rate; none: the network's default", 0, 0.95)
    image_size: int | None = setting(None, "input size in pixels a side; none: the network's native size", 8, 1024)
    initial_image_size: int = setting(IMAGE_SIZE, "size of the training images in the first epoch", 24, IMAGE_SIZE)
    resize_fraction: float = setting(0.0, "fraction of the epochs in which these grow to 48, by 12 pixels", 0, 1)
    normalization: str = setting("dataset", "mean and deviation of the input", choices=("dataset", "pretrained"))
    preprocessing: str = setting("none", "of each image at the input", choices=("none", "standardize", "equalize"))
    drop_path: float = setting(0.0, "stochastic depth: probability that the last block is skipped", 0, 0.9)
    pretrained: str = setting("none", "none; auto: from the input folder, else the hub; or a file, folder or run")
    freeze_epochs: int = setting(0, "number of first epochs that train the last layer only", 0, 10_000)
    layer_decay: float = setting(1.0, "learning rate of each layer, as a fraction of the next layer's", 0.1, 1)
    epochs: int = setting(30, "maximum number of epochs", 1, 10_000)
    batch_size: int = setting(64, "images per step", 2, 65_536)
    optimizer: str = setting("adam", "", choices=("adam", "adamw", "sgd"))
    lr: float = setting(1e-3, "learning rate (the peak of the schedule)", 1e-9, 100)
    weight_decay: float = setting(0.0, "weight decay", 0, 10)
    weight_decay_on: str = setting("all", "weights: not on norms and biases", choices=("all", "weights"))
    momentum: float = setting(0.9, "Nesterov momentum of sgd", 0, 0.9999)
    schedule: str = setting("constant", "", choices=("constant", "plateau", "cosine", "one_cycle"))
    warmup_fraction: float = setting(0.0, "fraction of the steps with a rising rate; one_cycle: 0 means 0.3", 0, 0.9)
    cosine_epochs: int = setting(
        0, "cosine: epochs from the peak to 0, then up again in as many; 0: all epochs", 0, 10_000
    )
    lr_patience: int = setting(3, "plateau: epochs without a lower validation loss before the rate falls", 0, 10_000)
    lr_factor: float = setting(0.5, "plateau: factor of the rate", 0.01, 0.99)
    early_stopping_patience: int = setting(0, "epochs without a higher validation accuracy; 0: no stop", 0, 10_000)
    class_balancing: str = setting("none", "", choices=("none", "weights", "sampler", "weights+sampler"))
    label_smoothing: float = setting(0.0, "label smoothing", 0, 0.9)
    soft_targets: str = setting(
        "none", "none; or a run, an oof.csv, a predictions file: what it predicted is learnt too"
    )
    soft_target_weight: float = setting(0.5, "of these; the label has the rest", 0, 1)
    soft_target_temperature: float = setting(1.0, "of these: above 1 flatter, below 1 sharper", 0.1, 10)
    pseudo_labels: str = setting("none", "none; or a run or a predictions file: the test images are learnt with it")
    mixup: float = setting(0.0, "alpha of mixup; 0: off", 0, 100)
    cutmix: float = setting(0.0, "alpha of cutmix; 0: off", 0, 100)
    mix_probability: float = setting(1.0, "fraction of the batches that are mixed", 0.01, 1)
    cutmix_share: float = setting(0.5, "with mixup and cutmix: fraction of the mixed batches with cutmix", 0, 1)
    mix_off_fraction: float = setting(0.0, "fraction of the epochs, at the end, without mixing", 0, 0.9)
    sam_fraction: float = setting(0.0, "fraction of the epochs, at the end, with sharpness-aware steps", 0, 1)
    sam_rho: float = setting(0.05, "how far sharpness-aware steps look", 0.0001, 10)
    ema: float = setting(0.0, "decay per step of the moving average of the weights; 0: off", 0, 0.99999)
    tta: str = setting("none", "test-time augmentation: the views to average", choices=TTA)
    precision: str = setting("auto", "auto: by the device's capability", choices=("auto", "float32", "bf16", "fp16"))
    seed: int = setting(0, "added to the recipe's seed", 0, 2**31 - 1)
    augment: Augment = field(default=Augment())

    def __post_init__(self):
        super().__post_init__()
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", self.name):
            raise UserError(f"member name {self.name!r}: it becomes a file name; use letters, digits, '_', '-' and '.'")


@dataclass(frozen=True)
class Recipe(Checked):
    """Members in order of importance, the split they are trained on, and the form of the submission."""

    name: str = setting("", "the recipe's name")
    description: str = setting("", "one line for the table")
    published: str = setting("", "the accuracies that the reference notebooks printed")
    members: tuple = setting((), "the members")
    folds: int = setting(5, "number of folds of the training data", 2, 100)
    fold: int | str = setting(
        0, "the fold for validation; all: each in turn; none: train on all rows", 0, 99, choices=("all", "none")
    )
    split_seed: int = setting(0, "seed of the split", 0, 2**31 - 1)
    valid: str = setting("fold", "the rows for validation; train: the training rows", choices=("fold", "train"))
    blend: str = setting("mean", "how members are blended; auto: what beats the mean out of fold", choices=BLENDS)
    copies: str = setting("predicted", "test images that train.csv has too, exactly or nearly", choices=COPIES)
    max_train_rows: int | None = setting(None, "use the first so many rows of train.csv; none: all", 14, 10**9)
    seed: int = setting(0, "seed of the training", 0, 2**31 - 1)
    seeds: str = setting("none", "several seeds of the training, as 0,1,2; none: the one seed")
    time_budget_hours: float | None = setting(None, "maximum hours; none: no limit, 11.5 in a kernel", 0.001, 10_000)
    data_folder: str = setting("auto", "auto: any; or the folder below the input that has the data")
    attention_maps_every: int = setting(0, "epochs between maps of where eight faces are looked at; 0: off", 0, 10_000)
    form: str = setting("auto", "auto: as example_submission.csv", choices=("auto", "kaggle", "no_header"))
    track: str = setting("none", "trackers of the training", choices=TRACKERS)

    def __post_init__(self):
        super().__post_init__()
        names = [m.name for m in self.members]
        if not names or len(set(names)) < len(names):
            raise UserError(f"recipe {self.name}: it needs members with different names, not {names}")
        if isinstance(self.fold, int) and self.fold >= self.folds:
            raise UserError(f"fold={self.fold}: with folds={self.folds} it can be 0 to {self.folds - 1}")
        if self.valid == "train" and not isinstance(self.fold, int):
            raise UserError(f"valid=train validates the training rows, which fold={self.fold} contradicts; set fold=0")
        if self.fold == "none":
            check_without_validation(self)
        if self.seeds != "none":
            check_seeds(self)


def check_without_validation(recipe: Recipe) -> None:
    """Raises UserError for a setting that needs validation rows."""
    if recipe.blend not in (*UNFITTED_BLENDS, "auto"):  # auto takes the mean there
        raise UserError(f"fold=none: blend={recipe.blend} is fitted to validation rows; set blend=mean")
    for member in recipe.members:
        if member.schedule == "plateau":
            raise UserError(f"fold=none: {member.name}.schedule=plateau needs validation rows; set schedule=cosine")
        if member.early_stopping_patience:
            reason = "early_stopping_patience needs validation rows; set early_stopping_patience=0"
            raise UserError(f"fold=none: {member.name}.{reason}")


def check_seeds(recipe: Recipe) -> None:
    """Raises UserError unless the seeds are different whole numbers that give different networks."""
    texts = recipe.seeds.split(",")
    is_list = all(re.fullmatch(r"[0-9]{1,9}", text) for text in texts)
    if not is_list or len({int(text) for text in texts}) < len(texts):
        raise UserError(f"seeds={recipe.seeds}: give different whole numbers, separated by commas, as 0,1,2")
    trained = {}  # member and seed by all that a training depends on
    for seed in map(int, texts):
        for member in recipe.members:
            network = dataclasses.replace(member, name="any", seed=0), seed + member.seed
            first, its_seed = trained.setdefault(network, (member.name, seed))
            if its_seed != seed:
                pair = f"{first} with seed {its_seed} and {member.name} with seed {seed}"
                raise UserError(f"seeds={recipe.seeds}: {pair} would be the same network; set seeds further apart")


# ------------------------------------------------------------------------------------------- overrides


def settable_fields(cls) -> list[str]:
    """The fields of `cls` that can be set from the command line."""
    return [f.name for f in dataclasses.fields(cls) if f.name not in NOT_SETTABLE]


def member_keys() -> list[str]:
    """The keys of a member and of its augmentation."""
    return [*settable_fields(Member), *(f"augment.{key}" for key in settable_fields(Augment))]


def keys(recipe: Recipe) -> list[str]:
    """Every key that `override` takes for this recipe; a member's key without a name sets all members."""
    of_members = [f"{member.name}.{key}" for member in recipe.members for key in member_keys()]
    return [*settable_fields(Recipe), *(key for key in member_keys() if key != "seed"), *of_members]


def setting_called(word: str) -> str | None:
    """The key that a word means: a key itself, a key of the augmentation, or one of OTHER_NAMES; else None."""
    known, word = [*settable_fields(Recipe), *member_keys()], word.lower().replace("-", "_")
    candidates = (word, f"augment.{word}", OTHER_NAMES.get(word))
    return next((key for key in candidates if key in known), None)


def override(recipe: Recipe, assignments: list[str]) -> Recipe:
    """`recipe` with each `key=value` applied; then the whole is checked, so that their order does not matter.

    A key is a field of the recipe (`folds=10`), a field of every member (`epochs=3`, `augment.rotation=10`), or a field
    of one member (`simple_cnn_v2.lr=0.01`), which goes before the field of every member. Of two values for one key the
    last counts. Raises UserError for an unknown key (naming the nearest), a value of the wrong type, and one out of
    range.
    """
    values = {}  # by (member, key), where "" means the recipe or every member
    for assignment in assignments:
        key, equals, text = (part.strip() for part in assignment.partition("="))
        if not equals:
            raise UserError(f"--set {assignment}: write key=value, without spaces")
        values[split_key(recipe, key)] = text
    of_all = {key: text for (name, key), text in values.items() if not name}
    of_recipe = {key: of_all.pop(key) for key in settable_fields(Recipe) if key in of_all}
    members = []
    for member in recipe.members:
        of_member = {key: text for (name, key), text in values.items() if name == member.name}
        members.append(with_fields(member, of_all | of_member))
    return with_fields(recipe, of_recipe, members=tuple(members))


def split_key(recipe: Recipe, key: str) -> tuple[str, str]:
    """The member's name, "" where a key bears none, and the key without it; UserError for an unknown key."""
    # One member's name can begin with another's and a dot, so the longest name that fits is the one.
    name = max((m.name for m in recipe.members if key.startswith(f"{m.name}.")), key=len, default="")
    member_key = key.removeprefix(f"{name}.")
    if key in keys(recipe):
        return name, member_key
    known = member_keys() if name else keys(recipe)
    what = f"; it is the option --{key}" if key in OPTIONS else hint(member_key, known, OTHER_NAMES)
    if f"augment.{member_key}" in known:
        what = f"; did you mean augment.{member_key}?"
    raise UserError(f"{key}: no such setting{what} (`recipes {recipe.name}` lists them)")


def with_fields(config, texts: dict[str, str], **more):
    """The dataclass with the fields (also `augment.<field>`) replaced by what the texts write, and by `more`."""
    kinds, inner = typing.get_type_hints(type(config)), {}
    for key, text in texts.items():
        if key.startswith("augment."):
            inner[key.removeprefix("augment.")] = text
        else:
            more[key] = parse(key, text, kinds[key])
    if inner:
        more["augment"] = with_fields(config.augment, inner)
    return dataclasses.replace(config, **more)


def parse(name: str, text: str, kind):
    """The value of type `kind` that `text` writes; UserError if it writes none."""
    if isinstance(kind, types.UnionType):
        first, other = typing.get_args(kind)
        if other is str:
            return parse(name, text, first) if re.fullmatch(r"[-+]?[0-9.]+", text) else text.lower()
        return None if text.lower() == "none" else parse(name, text, first)
    what = {str: "a text", int: "a whole number", float: "a number"}[kind]
    try:
        return kind(text)
    except ValueError:
        advice = "; separate settings by spaces" if "," in text and "=" in text else ""
        raise UserError(f"{name}={text}: {what} is needed{advice}") from None


# ------------------------------------------------------------------------------------------------ hash


def as_dict(config) -> dict:
    """The settings as plain dicts and lists, for JSON."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def member_from(settings: dict) -> Member:
    """The member whose settings `as_dict` gave; those that are not there, as in an older run, have their defaults.

    Raises UserError for settings that the kit does not know, and for values that a setting cannot have.
    """
    known = {f.name for f in dataclasses.fields(Member)}
    if unknown := sorted(settings.keys() - known):
        raise UserError(
            f"{settings.get('name')}: unknown settings {', '.join(unknown)}; another version of the kit ran"
        )
    try:
        return Member(**settings | {"augment": Augment(**settings.get("augment", {}))})
    except TypeError as error:
        raise UserError(f"{settings.get('name')}: its settings are damaged ({error})") from None


def config_hash(config) -> str:
    """16 hexadecimal digits that identify what is trained."""
    return hash_of_settings(as_dict(config))


def hash_of_settings(settings: dict) -> str:
    """The hash of a recipe's settings as `as_dict` gives them, without NOT_HASHED.

    Those change nothing that is learnt, except that a time budget may shorten a schedule.

    A setting at its default does not count. So a new setting changes the hash of no recipe that leaves it alone, and
    runs that were recorded before it keep their hash.
    """
    members = [
        counted_settings(Member, member) | {"augment": counted_settings(Augment, member.get("augment", {}))}
        for member in settings.get("members", ())
    ]
    counted = counted_settings(Recipe, settings) | {"members": members}
    return hashlib.sha256(json.dumps(counted, sort_keys=True).encode()).hexdigest()[:16]


def counted_settings(cls, settings: dict) -> dict:
    """Those of the settings of one dataclass that count for the hash and are not at their default."""
    defaults = {f.name: f.default for f in dataclasses.fields(cls)}
    return {k: v for k, v in settings.items() if k not in NOT_HASHED and (k not in defaults or v != defaults[k])}
