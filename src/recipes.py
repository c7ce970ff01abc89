"""Every named recipe, each a short difference from a default.

`simple_cnn_*` repeat the reference notebooks' experiments with their settings. What the notebooks leave open is the
same in all of them: shear ±10°, brightness and contrast ±20 %, a plateau halves the rate, class weights are
scikit-learn's "balanced" ones.
"""

from dataclasses import fields, replace

from src.config import Augment, Member, Recipe, nearest, scalar_keys
from src.errors import UserError

FULL = Augment(rotation=15, flip=0.5, shift=0.1, scale=0.1, shear=10, brightness=0.2, contrast=0.2, erase=0.1)


def single(name: str, about: str, published: str = "", *, valid="fold", rows=None, **member) -> Recipe:
    """A recipe of one member that bears the recipe's name."""
    return Recipe(name, about, published, (Member(name, **member),), valid=valid, rows=rows)


SIMPLE_V0 = single(
    "simple_cnn_v0",
    "200 images that are both train and validation: can the net overfit?",
    "val 100 at epoch 13",
    network="simple_cnn_v0",
    epochs=100,
    valid="train",
    rows=200,
)
SIMPLE_V1 = single(
    "simple_cnn_v1",
    "two 5x5 convolutions, dropout, early stop",
    "train 83.87, val 57.66",
    network="simple_cnn_v1",
    epochs=30,
    patience=5,
)
SIMPLE_V2 = single(
    "simple_cnn_v2",
    "v1 + batch norm, full augmentation, plateau",
    "train 55.08, val 57.89, best val 59.11",
    network="simple_cnn_v2",
    lr=5e-4,
    weight_decay=1e-4,
    schedule="plateau",
    epochs=20,
    patience=7,
    augment=FULL,
)


def imbalance(name: str, about: str, published: str, balance: str) -> Recipe:
    """`simple_cnn_v2` with AdamW and one of the answers to class imbalance."""
    member = replace(SIMPLE_V2.members[0], name=name, optimizer="adamw", balance=balance)
    return Recipe(name, about, published, (member,))


QUICK = Recipe(
    "quick",
    "the whole way on made-up faces, under a minute on two CPU cores",
    members=tuple(
        Member(
            name, network=name, epochs=6, batch=32, schedule="one_cycle", lr=lr, augment=Augment(flip=0.5, shift=0.05)
        )
        for name, lr in (("compact_cnn", 3e-3), ("simple_cnn_v2", 1e-3))
    ),
)

BASELINE = single(
    "baseline",
    "the kit's own: a compact CNN, one cycle, label smoothing, moving average, flips",
    network="compact_cnn",
    epochs=24,
    batch=128,
    optimizer="adamw",
    lr=3e-3,
    weight_decay=0.05,
    schedule="one_cycle",
    warmup=0.2,
    label_smoothing=0.1,
    ema=0.999,
    views="flip",
    augment=Augment(rotation=10, flip=0.5, shift=0.08, scale=0.1, brightness=0.2, contrast=0.2),
)

RECIPES = {
    recipe.name: recipe
    for recipe in (
        QUICK,
        BASELINE,
        SIMPLE_V0,
        SIMPLE_V1,
        SIMPLE_V2,
        imbalance(
            "simple_cnn_v3",
            "v2 + weighted loss and sampler: the double correction",
            "train 14.08, val 1.76",
            "weights+sampler",
        ),
        imbalance("simple_cnn_v3_weighted", "v2 + weighted loss alone", "", "weights"),
        imbalance("simple_cnn_v3_sampler", "v2 + weighted sampler alone", "", "sampler"),
    )
}


def get(name: str) -> Recipe:
    """The recipe of that name; UserError naming the nearest where there is none."""
    if name not in RECIPES:
        raise UserError(f"{name}: no such recipe{nearest(name, RECIPES)} (`recipes` lists them)")
    return RECIPES[name]


def table() -> str:
    """All recipes as a table for people."""
    head = ("recipe", "members", "epochs", "published, %", "what it is")
    rows = [(r.name, str(len(r.members)), epochs(r), r.published or "-", r.about) for r in RECIPES.values()]
    return aligned([head, *rows])


def epochs(recipe: Recipe) -> str:
    """The most epochs of its members: "30", or "4-6" where they differ."""
    most = sorted({m.epochs for m in recipe.members})
    return str(most[0]) if len(most) == 1 else f"{most[0]}-{most[-1]}"


def settings(recipe: Recipe) -> str:
    """Every key that `--set` takes for this recipe, with its value and what it means.

    A sole member's keys stand without its name, and without its seed: there `seed` is the recipe's.
    """
    rows, several = [("key", "value", "meaning"), *described(recipe)], len(recipe.members) > 1
    for member in recipe.members:
        name = f"{member.name}." if several else ""
        own = described(member, name) + described(member.augment, f"{name}augment.")
        rows += [row for row in own if several or row[0] != "seed"]
    return aligned(rows)


def described(config, prefix: str = "") -> list[tuple[str, str, str]]:
    """Key, value and meaning of each setting of one dataclass."""
    rows = []
    for f in fields(config):
        if f.name in scalar_keys(type(config)):
            meaning = "; ".join(filter(None, (f.metadata["help"], ", ".join(f.metadata["choices"] or ()))))
            value = getattr(config, f.name)
            rows.append((prefix + f.name, "none" if value is None else str(value), meaning))
    return rows


def aligned(rows: list[tuple]) -> str:
    """Rows of texts in columns as wide as their widest cell."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)
