"""Joins the members that differ in their fold alone: each predicted other rows, together they are one column."""

import re

import numpy as np

from src.ensemble.predictions import Predictions


def merge_folds(members: list[Predictions]) -> list[Predictions]:
    """The members, with those of one network, seed and recipe and of different folds as one.

    It has the validation rows of all; its test probabilities are their mean.
    """
    groups: dict[tuple, list[Predictions]] = {}
    for number, member in enumerate(members):
        groups.setdefault(group_of(member, number), []).append(member)
    return [column for group in groups.values() for column in merge_group(group)]


def merge_group(group: list[Predictions]) -> list[Predictions]:
    """One for the group; one for each configuration where members share rows; the members where that does not help."""
    if not share_rows(group):
        return [merge(group)]
    parts: dict[str, list[Predictions]] = {}
    for member in group:
        parts.setdefault(str(member.header.get("config_hash")), []).append(member)
    return [one for part in parts.values() for one in (part if share_rows(part) else [merge(part)])]


def share_rows(members: list[Predictions]) -> bool:
    """Whether two of the members have predicted the same row."""
    rows = np.concatenate([member.valid_rows for member in members])
    return len(np.unique(rows)) < len(rows)


def group_of(member: Predictions, number: int) -> tuple:
    """What is equal in the members of different folds; another for each member that names no fold."""
    header = member.header
    if not {"fold", "seed", "recipe"} <= header.keys() or header["fold"] == "none":
        return (number,)
    return network_name(header["member"]), str(header["seed"]), header["recipe"]


def network_name(training: str) -> str:
    """The name of a training without its fold and seed, which a run of one fold and one seed leaves out."""
    return re.sub(r"(-f\d+)?-s\d+$", "", training)


def without_fold(training: str) -> str:
    """The name of a training without its fold: what all folds of one seed have in common."""
    return re.sub(r"-f\d+(?=-s\d+$)", "", training)


def merge(group: list[Predictions]) -> Predictions:
    """One for all, whose header has the first one's values."""
    if len(group) == 1:
        return group[0]
    rows, valid = (np.concatenate(parts) for parts in zip(*((m.valid_rows, m.valid) for m in group), strict=True))
    order = np.argsort(rows)
    name = without_fold(group[0].header["member"])
    test = np.mean([member.test for member in group], axis=0, dtype=np.float64).astype(np.float32)
    return Predictions(group[0].header | {"member": name, "fold": "all"}, rows[order], valid[order], test)
