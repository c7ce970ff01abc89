"""How much a device has free: the system's own figure, a container's bound, and what follows for the images."""

import pytest
import torch

from src.data import memory

CPU = torch.device("cpu")


@pytest.mark.parametrize(("size", "fits"), [(250, True), (251, False)])
def test_images_lie_on_the_device_up_to_a_quarter_of_what_it_has_free(monkeypatch, size, fits):
    monkeypatch.setattr(memory, "free", lambda device: 1000 * 10**6)
    found, line = memory.fits(size * 10**6, CPU)
    assert found is fits and f"{size}.0 MB, {'on the device' if fits else 'in a file'}" in line and "1,000 MB" in line


def test_where_the_free_memory_is_not_known_they_lie_on_the_device(monkeypatch):
    monkeypatch.setattr(memory, "free", lambda device: None)
    assert memory.fits(10**15, CPU) == (
        True,
        "images: 1,000,000,000.0 MB, on the device; how much it has free is not known",
    )


def test_main_memory_has_what_the_system_says(tmp_path):
    file = tmp_path / "meminfo"
    file.write_text("MemTotal:  900 kB\nMemFree:  100 kB\nMemAvailable:  500 kB\n")
    assert memory.available(file) == 500 * 1024
    file.write_text("MemTotal:  900 kB\n")
    assert memory.available(file) is None and memory.available(tmp_path / "none") is None


@pytest.mark.parametrize("version", memory.CGROUPS, ids=["2", "1"])
def test_a_containers_bound_counts_less_what_is_used_but_for_file_cache(tmp_path, version):
    limit, used, cache = version
    (tmp_path / limit).parent.mkdir(exist_ok=True)
    (tmp_path / limit).write_text("1000\n")
    (tmp_path / used).write_text("700\n")
    assert memory.allowed(version, tmp_path) == 300
    (tmp_path / limit).with_name("memory.stat").write_text(f"active_file 50\n{cache} 200\n")
    assert memory.allowed(version, tmp_path) == 500


def test_a_container_without_a_bound_bounds_nothing(tmp_path):
    version = memory.CGROUPS[0]
    (tmp_path / version[0]).write_text("max\n")
    (tmp_path / version[1]).write_text("700\n")
    assert memory.allowed(version, tmp_path) is None and memory.allowed(version, tmp_path / "none") is None


def test_the_least_of_all_bounds_counts(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 800)
    for bounds, least in (([None, 900], 800), ([300, None], 300), ([None, None], 800)):
        monkeypatch.setattr(memory, "allowed", lambda version, bounds=bounds: bounds[memory.CGROUPS.index(version)])
        assert memory.free(CPU) == least
    monkeypatch.setattr(memory, "available", lambda: None)
    monkeypatch.setattr(memory, "allowed", lambda version: None)
    assert memory.free(CPU) is None
