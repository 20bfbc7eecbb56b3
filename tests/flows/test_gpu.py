"""GPU locks between real processes; the devices are files of the test's own."""

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from flows.gpu import gpu_slots, visible_gpus, wants_gpu

HOLDER = """
import subprocess, sys, time
from pathlib import Path
from flows.gpu import gpu_slots
with gpu_slots(["0"], Path(sys.argv[1])) as slots:
    if sys.argv[2] == "child":
        fds = [slot.fd for slot in slots]
    else:
        fds = []
    child = subprocess.Popen(["sleep", "600"], pass_fds=fds, start_new_session=True)
    for slot in slots:
        slot.record_child(child.pid)
    print(child.pid, flush=True)
    time.sleep(600)
"""


def start_holder(folder: Path, inherits: str) -> tuple[subprocess.Popen, int]:
    """Start a process that holds GPU 0 and has a child; give both."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder), inherits], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    return process, int(process.stdout.readline())


def wait_for(path: Path, text: str) -> None:
    deadline = time.monotonic() + 60
    while text not in path.read_text():
        assert time.monotonic() < deadline, f"{path} never said {text!r}"
        time.sleep(0.1)


WAITER = """
import logging, sys
from pathlib import Path
from flows.gpu import gpu_slots
logging.basicConfig(level=logging.WARNING, format="%(message)s")
with gpu_slots(["0"], Path(sys.argv[1])):
    logging.warning("has it")
"""


def start_waiter(folder: Path, log: Path) -> subprocess.Popen:
    with log.open("w") as output:
        return subprocess.Popen([sys.executable, "-c", WAITER, str(folder)], stderr=output)


def end(process: subprocess.Popen) -> None:
    process.kill()
    process.wait()
    if process.stdout:
        process.stdout.close()


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_the_second_process_waits_and_names_the_first_until_that_is_killed(tmp_path):
    holder, child = start_holder(tmp_path / "gpus", "nothing")
    waiter = start_waiter(tmp_path / "gpus", tmp_path / "log")
    try:
        wait_for(tmp_path / "log", f"GPU 0 is in use by process {holder.pid}; waiting for it")
        assert "has it" not in (tmp_path / "log").read_text()
        end(holder)
        wait_for(tmp_path / "log", "has it")
        assert f"ending process group {child}, left behind" in (tmp_path / "log").read_text()
        assert not runs(child)
    finally:
        end(holder)
        end(waiter)


def test_what_a_killed_holder_left_is_ended_though_it_has_the_lock_open(tmp_path):
    holder, child = start_holder(tmp_path / "gpus", "child")
    end(holder)
    assert runs(child)
    waiter = start_waiter(tmp_path / "gpus", tmp_path / "log")
    try:
        wait_for(tmp_path / "log", "has it")
        assert not runs(child)
    finally:
        end(waiter)


def test_a_child_that_could_not_be_ended_keeps_the_gpu(tmp_path):
    with gpu_slots(["0"], tmp_path / "gpus") as slots:
        child = subprocess.Popen(["sleep", "600"], pass_fds=[slots[0].fd])
    waiter = start_waiter(tmp_path / "gpus", tmp_path / "log")
    try:
        wait_for(tmp_path / "log", "GPU 0 is in use by process")
        end(child)
        wait_for(tmp_path / "log", "has it")
    finally:
        end(child)
        end(waiter)


def test_gpus_are_free_again_after_the_block_and_after_an_error(tmp_path):
    with pytest.raises(RuntimeError, match="the stage failed"), gpu_slots(["0", "1"], tmp_path / "gpus"):
        raise RuntimeError("the stage failed")
    with gpu_slots(["1", "0"], tmp_path / "gpus") as slots:
        assert len(slots) == 2


def test_without_a_gpu_nothing_is_held_and_no_folder_made(tmp_path):
    with gpu_slots([], tmp_path / "gpus") as slots:
        assert slots == []
    assert not (tmp_path / "gpus").exists()


@pytest.mark.parametrize("lay", [lambda path: path.symlink_to("/"), lambda path: (path.mkdir(), path.chmod(0o777))])
def test_a_folder_that_somebody_else_may_have_laid_is_refused(tmp_path, lay):
    lay(tmp_path / "gpus")
    with pytest.raises(ValueError, match="must be a folder of yours alone"), gpu_slots(["0"], tmp_path / "gpus"):
        pass


def test_visible_gpus_are_all_or_those_of_cuda_visible_devices(tmp_path):
    for name in ("nvidia0", "nvidia1", "nvidia10", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    info = tmp_path / "proc" / "0000:3b:00.0" / "information"
    info.parent.mkdir(parents=True)
    info.write_text("Model: \t H200\nGPU UUID:\t GPU-8f2c-aa\nDevice Minor: \t 1\n")

    def seen(**environment: str) -> list[str]:
        return visible_gpus(environment, tmp_path, tmp_path / "proc")

    assert seen() == ["0", "1", "10"]
    assert seen(CUDA_VISIBLE_DEVICES="1,0") == ["0", "1"]
    assert seen(CUDA_VISIBLE_DEVICES="") == []
    assert seen(CUDA_VISIBLE_DEVICES="0,-1,1") == ["0"]
    assert seen(CUDA_VISIBLE_DEVICES="GPU-8f2c") == ["1"]
    assert seen(CUDA_VISIBLE_DEVICES="MIG-77/1/0") == ["MIG-77/1/0"]
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": "0"}, tmp_path / "proc", tmp_path / "proc") == []


def test_only_jobs_that_load_a_model_want_a_gpu():
    assert wants_gpu({"job": "train"})
    assert wants_gpu({"job": "logprobs"})
    assert wants_gpu({"job": "sample", "engine": {"name": "openai", "base_url": None}})
    assert not wants_gpu({"job": "sample", "engine": {"name": "openai", "base_url": "http://127.0.0.1:1/v1"}})
    assert wants_gpu({"job": "score", "judge": {"kind": "reward_model"}})
    assert not wants_gpu({"job": "score", "judge": {"kind": "rubric", "engine": {"name": "openai"}}})
    assert wants_gpu({"job": "score", "judge": {"kind": "pairwise", "engine": {"name": "vllm"}}})
    assert wants_gpu({"job": "score", "judge": {"kind": "implicit_reward"}})
    assert not wants_gpu({"job": "score", "judge": {"kind": "verifier"}})
