"""Sections of a run's report: the members with their figures, what ran, and what is missing."""

import dataclasses
import math

import numpy as np
from sklearn.metrics import f1_score

from src.config import Augment, Member, Recipe
from src.ensemble.predictions import Predictions
from src.ensemble.reliability import reliability
from src.recipe_changes import flat, shown
from src.report.metrics import METRICS
from src.report.numbers import duration, interval, percent
from src.report.page import Notice, Table, Terms
from src.report.paired import accuracy_interval
from src.report.run_files import RunFiles, dict_of, recipe_members

_TEXTS = ("name", "description", "published", "members", "augment")  # of a recipe: they are no settings
_QUALITY = ("member", "rows", "validation accuracy", "95 % interval", "macro-F1", "ECE", "training accuracy")
_COST = ("member", "network", "parameters", "epochs", "best", "time", "images a second", "precision", "initial weights")


def members_blocks(run: RunFiles) -> list:
    """How good each member and the blend are, and what they cost."""
    finished = [name for name in run.members if run.result(name)]
    names = dict.fromkeys([*map(run.without_fold, finished), *run.compared])
    blocks = [_rows_text(run.record)]
    if len(run.blended_members) > 1:
        blocks.append(f"The submission is of the blend {run.method} of {', '.join(run.blended_members)}.")
    if copies := dict_of(run.record, "ensemble").get("labelled_copies"):
        blocks.append(f"submission.csv gives {_count(copies)} copies of training images the label that these have.")
    if near := dict_of(run.record, "ensemble").get("near_copies"):
        blocks.append(f"For {_count(near)} more, near copies of training images, it weighs in the labels of these.")
    others = [name for name in run.compared if name not in run.blended_members]
    if others and run.blended:
        blocks.append(f"Not in the blend, which is more accurate on the validation rows without: {', '.join(others)}.")
    quality = [(name, *_quality(run, name)) for name in names]
    if run.blended and len(run.blended_members) != 1:
        quality.append(("blend", *_measures(run, run.blended), "–"))
    blocks += [Table(_QUALITY, quality)] if quality else [Notice("No member has finished.")]
    if costs := [(name, *_costs(run, name)) for name in finished]:
        whole = _time(run.record.get("seconds"))
        blocks.append(Table(_COST, costs, f"Time: of the training alone. The whole run took {whole}."))
    reasons = dict_of(run.record, "failed") | dict_of(run.record, "skipped")
    return blocks + [Notice(f"{name} is missing: {reason}") for name, reason in reasons.items()]


def _rows_text(record: dict) -> str | Notice:
    """Which rows the accuracies are of."""
    recipe = dict_of(record, "recipe")
    if recipe.get("valid") == "train":
        return Notice("The validation rows are rows that were trained on: all accuracies are too high.")
    if record.get("blend"):
        return "Accuracies are of the members' validation rows, each predicted by members that have not trained on it."
    if recipe.get("fold") == "none":
        return "The members have trained on all rows, so none is left for validation."
    if recipe.get("fold") == "all":
        return "Accuracies are out-of-fold: of all rows, each predicted by the networks that have not trained on it."
    return "Accuracies are of the validation rows, which no member has trained on."


def _quality(run: RunFiles, name: str) -> tuple:
    result = run.result(name)
    measures = ("–", _percent(result.get("valid_accuracy")), "–", _percent(result.get("valid_f1")), "–")
    if name in run.scored:
        measures = _measures(run, run.compared[name])
    return *measures, _percent(result.get("train_accuracy"))


def _costs(run: RunFiles, name: str) -> tuple:
    result, settings = run.result(name), {one["name"]: one for one in recipe_members(run.record)}
    network = settings.get(_base_name(name, settings), {}).get("network", "")
    counts = [_count(result.get(key)) for key in ("parameters", "epochs", "best_epoch")]
    speed = result.get("images_per_second")
    speed = f"{speed:,.0f}" if _is_number(speed) else "–"
    texts = [str(result.get(key) or "–") for key in ("precision", "initial_weights")]
    return str(network), *counts, _time(result.get("train_seconds")), speed, *texts


def _base_name(name: str, settings: dict) -> str:
    """The recipe's member that a trained member is: the longest name that it begins with."""
    return max((base for base in settings if name == base or name.startswith(f"{base}-")), key=len, default=name)


def _measures(run: RunFiles, predictions: Predictions) -> tuple:
    """Rows, accuracy, its interval, macro-F1 and calibration error, as texts."""
    if run.data is None or not len(predictions.valid_rows):
        return (len(predictions.valid_rows), *["–"] * 4)
    labels, predicted = run.labels(predictions), predictions.valid.argmax(1)
    accuracy, *limits = accuracy_interval(predicted == labels)
    macro = float(f1_score(labels, predicted, average="macro", zero_division=0.0))
    error = reliability(predictions.valid, labels).error
    return len(labels), percent(accuracy), interval(*limits), percent(macro), percent(error)


def settings_blocks(run: RunFiles) -> list:
    """The settings that differ from the defaults, then environment and code, then the other settings."""
    recipe, blocks = dict_of(run.record, "recipe"), []
    if blend := dict_of(run.record, "blend"):
        blocks.append(f"A blend by the method {blend.get('method')}.")
        names = [str(one.get("name")) for one in blend.get("members", []) if isinstance(one, dict)]
        elsewhere = "" if run.predictions else " Their figures are in the reports of their runs."
        blocks.append(f"Its members: {', '.join(names)}.{elsewhere}")
    elif not recipe:
        return [Notice("run.json is not there or cannot be read, so nothing is known of the settings.")]
    else:
        differ, equal = _by_default(recipe)
        names = [member["name"] for member in recipe_members(run.record)]
        header = ("setting", "default", *names)
        caption = "Settings that differ from the default. A cell is empty where the member has the default."
        blocks += [Table(header, differ, caption)] if differ else ["All settings have their default."]
    blocks.append(Table(("", "environment"), _environment(run.record)))
    if not blend:
        blocks.append(f"At their default in all members: {', '.join(equal)}.")
    return blocks


def _by_default(recipe: dict) -> tuple[list[tuple], list[str]]:
    """Rows of the settings that differ from their default, by member; `key=value` of those that do not."""
    members = recipe_members({"recipe": recipe})
    columns = [flat({"augment": {}} | one) for one in members]
    defaults = _defaults(Recipe)
    changed = {key: old for key, old in defaults.items() if key in recipe and recipe[key] != old}
    rows = [(key, shown(old), *[shown(recipe[key])] * len(columns)) for key, old in changed.items()]
    equal = [f"{key}={shown(old)}" for key, old in defaults.items() if recipe.get(key, old) == old]
    defaults = _defaults(Member) | {f"augment.{key}": value for key, value in _defaults(Augment).items()}
    for key, old in defaults.items():
        cells = [shown(one[key]) if key in one and one[key] != old else "" for one in columns]
        if any(cells):
            rows.append((key, shown(old), *cells))
        else:
            equal.append(f"{key}={shown(old)}")
    return rows, equal


def _defaults(cls: type) -> dict:
    return {f.name: f.default for f in dataclasses.fields(cls) if f.name not in _TEXTS}


def _environment(record: dict) -> list[tuple]:
    code, rows = dict_of(record, "code"), dict_of(record, "rows")
    dirty = ", changed since" if code.get("dirty") else ""
    texts = {
        "status": record.get("status"),
        "recipe": _recipe_text(record),
        "code": f"{code.get('digest')}, commit {code.get('commit')}{dirty}" if code else "",
        "settings": record.get("config_hash"),
        "data": record.get("data_digest"),
        "rows": ", ".join(f"{count:,} {name}" for name, count in rows.items() if _is_number(count)),
        "device": "; ".join(str(one) for one in record.get("ranks") or [record.get("device")]),
        "whole run": _time(record.get("seconds")),
    }
    texts |= dict_of(record, "environment")
    return [(key, str(value)) for key, value in texts.items() if value not in (None, "")]


def _recipe_text(record: dict) -> str:
    recipe = dict_of(record, "recipe")
    words = [f"{recipe.get('name')}, seed {recipe.get('seed')}", recipe.get("description")]
    return ": ".join(str(word) for word in words if word)


def missing_blocks(run: RunFiles) -> list:
    """What is missing or damaged; empty where nothing is."""
    status, blocks = run.record.get("status"), []
    if run.record and status != "finished":
        blocks.append(Notice(f"The run has not finished; run.json says: {status}. This page shows what there is."))
    return blocks + [Notice(line) for line in run.problems]


def terms_blocks(run: RunFiles) -> list:
    """What each figure means."""
    return [Terms(METRICS)]


# --------------------------------------------------------------------- values of a run.json that may be damaged


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _count(value: object) -> str | int:
    return int(value) if _is_number(value) and value else "–"


def _percent(share: object) -> str:
    return percent(float(np.float64(share))) if _is_number(share) else "–"


def _time(seconds: object) -> str:
    return duration(seconds) if _is_number(seconds) and seconds else "–"
