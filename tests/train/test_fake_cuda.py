"""Training and prediction on a made-up GPU: devices do not mix, and no batch lets the host wait for the GPU.

Every network of the registry and every setting of a member comes here by itself.
"""

import dataclasses
import itertools

import pytest
import torch

from src import models
from src.config import Augment, Member, Recipe
from src.contradictions import NEEDS
from src.run.context import RunRequest
from src.run.record import Code
from src.run.run import run
from src.submit.check import check_submission
from src.train.checkpoint import read_checkpoint, write_checkpoint
from src.train.fit import TimeUp, TrainState
from src.train.predict import probabilities
from src.train.trainer import Trainer, TrainJob
from tests.support.fake_cuda import A100, CUDA, P100, SECOND, T4, FakeCuda, fake_cuda
from tests.support.fake_training import BatchWaits, cuda_job, small_cnn
from tests.support.training import tensors

SETTINGS = {f.name: f for f in (*dataclasses.fields(Member), *dataclasses.fields(Augment))}
# Settings of other tests here, and those that a step does not read.
LEFT_OUT = {"batch_size", "epochs", "image_size", "seed"}
LEFT_OUT |= {"early_stopping_patience", "soft_target_weight", "soft_target_temperature"}
MANY = {
    "class_balancing": "weights",
    "cutmix": 1.0,
    "ema": 0.99,
    "initial_image_size": 36,
    "label_smoothing": 0.1,
    "mixup": 1.0,
    "optimizer": "adamw",
    "preprocessing": "equalize",
    "resize_fraction": 0.5,
    "sam_fraction": 1.0,
    "schedule": "one_cycle",
    "tta": "flip",
    "weight_decay": 0.1,
    "weight_decay_on": "weights",
    "augment": Augment(rotation=10, flip=0.5, contrast=0.2, resized_crop=0.6, erase=0.5),
}


def other_values(setting: dataclasses.Field) -> list:
    """Values of a setting that are not its default: every other choice, or one number of its range; none of a path."""
    choices, low, high = (setting.metadata.get(key) for key in ("choices", "low", "high"))
    if choices:
        return [choice for choice in choices if choice != setting.default]
    if low is None:
        return []
    return [min(setting.default + 1, (low + high) // 2) if type(setting.default) is int else (low + high) / 2]


def values_that_meet_needs(setting: dataclasses.Field) -> dict:
    """Values of other settings without which this one has no effect."""
    need = NEEDS.get(setting.name) or NEEDS.get(f"augment.{setting.name}")
    names = [name.removeprefix("augment.") for name in need.others] if need else []
    for values in itertools.product(*(other_values(SETTINGS[name]) for name in names)):
        if need and need.is_met(*values):
            return dict(zip(names, values, strict=True))
    return {}


def settings_one_by_one() -> list:
    """Each setting of a member and of its augmentation with each of its other values, and with what it needs."""
    found = []
    for setting in SETTINGS.values():
        for value in other_values(setting) if setting.name not in LEFT_OUT else []:
            settings = values_that_meet_needs(setting) | {setting.name: value}
            settings = {"augment": Augment(**settings)} if hasattr(Augment, setting.name) else settings
            found.append(pytest.param(settings, id=f"{setting.name}={value}"))
    return found


@pytest.fixture(autouse=True)
def small_network(monkeypatch):
    monkeypatch.setitem(models.NETWORKS, "small_cnn", small_cnn)


@pytest.mark.parametrize("name", [*models.NETWORKS, "timm:convnext_atto"])
def test_no_network_lets_the_host_wait(name):
    with fake_cuda() as gpu:
        trainer = Trainer(cuda_job(network=name))
        batches = trainer.batches(trainer.new_epoch())
        before = len(gpu.waits)
        loss, hits = trainer.step(*next(batches))
        probs = probabilities(trainer.net, trainer.job.valid.images[:9], "none", trainer.job.precision)
        assert gpu.waits[before:] == []
        assert loss.device == hits.device == probs.device == CUDA and probs.shape == (9, 7)
        assert all(p.grad.device == CUDA for p in trainer.net.parameters())


def check_an_epoch_and_a_prediction(gpu: FakeCuda, job: TrainJob) -> None:
    """Trains for an epoch and predicts; no batch but the first may let the host wait."""
    trainer = Trainer(job)
    waits = BatchWaits(gpu, trainer)
    trainer.epoch(1, waits)
    before = len(gpu.waits)
    probs = probabilities(trainer.eval_model, job.valid.images[:9], job.member.tta, job.precision)
    assert waits.found == gpu.waits[before:] == [] and probs.device == job.train.images.device


@pytest.mark.parametrize("settings", settings_one_by_one())
def test_no_setting_lets_the_host_wait(settings):
    with fake_cuda() as gpu:
        check_an_epoch_and_a_prediction(gpu, cuda_job(**settings))


@pytest.mark.parametrize(
    ("capability", "precision", "kind"),
    [(T4, "fp16", torch.float16), (P100, "float32", torch.float32), (A100, "bf16", torch.bfloat16)],
)
def test_many_settings_together_in_each_precision(capability, precision, kind):
    with fake_cuda(capability) as gpu:
        job = cuda_job(**MANY)
        assert job.precision.name == precision
        check_an_epoch_and_a_prediction(gpu, job)
        assert gpu.convolved == {kind}  # all forward and backward passes


def test_many_settings_together_on_the_second_gpu():
    with fake_cuda() as gpu:
        check_an_epoch_and_a_prediction(gpu, cuda_job(SECOND, **MANY))


def test_soft_targets_let_no_step_wait():
    with fake_cuda() as gpu:
        job = cuda_job()
        targets = torch.full((len(job.train.labels), 7), 1 / 7, device=CUDA)
        check_an_epoch_and_a_prediction(gpu, dataclasses.replace(job, targets=targets))


@pytest.mark.parametrize(("optimizer", "device"), [("adam", CUDA), ("adamw", SECOND), ("sgd", CUDA)])
def test_a_checkpoint_within_an_epoch_is_on_the_cpu_and_continues_on_the_gpu(tmp_path, optimizer, device):
    def stop():
        raise TimeUp

    with fake_cuda():
        job = cuda_job(device, **MANY | {"optimizer": optimizer})
        trainer = Trainer(job)
        with pytest.raises(TimeUp):
            trainer.epoch(1, stop)
        state = trainer.state_dict()
        assert {tensor.device.type for tensor in tensors(state)} == {"cpu"}
        write_checkpoint(tmp_path / "checkpoint.pt", {}, state, TrainState())
        resumed = Trainer(job)
        resumed.load_state_dict(read_checkpoint(tmp_path / "checkpoint.pt", {})[0])
        assert resumed.epoch_state.step == 1
        assert resumed.epoch(1)["epoch"] == 1


def test_a_whole_run_takes_the_gpu_and_writes_a_submission(faces, tmp_path):
    settings = {"network": "small_cnn", "epochs": 2, "batch_size": 120}
    members = Member("plain", **settings), Member("many", **settings, **MANY)
    recipe = Recipe("r", members=members, time_budget_hours=1)
    with fake_cuda():
        record = run(RunRequest(recipe, Code("0" * 16, "abc1234", False), faces, tmp_path / "run"))
    assert record.status == "finished" and record.device == "Made-up GPU" and not record.failed
    assert {result.precision for result in record.members.values()} == {"fp16"}
    assert check_submission(tmp_path / "run" / "submission.csv", 80, None).rows == 80
