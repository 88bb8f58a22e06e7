"""train.py, test.py, print_config.py and their launchers, each in processes of its own."""

import json
import os
import pickle
import socket
import subprocess

import numpy as np
import pytest
import torch
from mmengine.config import Config

from amflow_mm.engine.evaluate import evaluate_checkpoint
from amflow_mm.engine.launch import load_config
from tests.engine.tiny_experiment import (
    RANDOM_PIPELINE,
    ROOT,
    assert_same_run,
    make_config,
    run_tool,
    train_here,
    write_experiment,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tools")


@pytest.fixture(scope="module")
def experiment(folder):
    """An experiment with an odd number of validation clips, named classes, and randomness."""
    (folder / "classes.txt").write_text("left\nright\nturn around\n")
    extra = f"""
classes_file = "{folder}/classes.txt"
model["dropout"] = 0.5
train_dataloader["dataset"]["pipeline"] = {RANDOM_PIPELINE}
"""
    return write_experiment(folder / "experiment", num_val=7, extra=extra)


@pytest.fixture(scope="module")
def checkpoint(folder, experiment):
    """A checkpoint that train.py has written into its default folder."""
    done = run_tool("train.py", experiment, "--seed", "5", "--no-validate", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "work_dirs/experiment/epoch_2.pth"


def assert_one_line_error(done, *parts):
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr
    assert done.stderr.splitlines()[-1] == errors[0]
    for part in parts:
        assert part in errors[0]


@pytest.mark.slow
def test_training_repeats_what_its_record_says(folder, experiment, checkpoint):
    record = json.loads((checkpoint.parent / "run.json").read_text())
    assert record["seed"] == 5
    assert record["command"] == ["train.py", str(experiment), "--seed", "5", "--no-validate"]
    resolved = checkpoint.parent / "experiment.py"
    assert (folder / record["resolved_config"]).samefile(resolved)
    # As many threads as the first run: sums split among threads round differently.
    done = run_tool(
        "train.py", resolved, "--seed", "5", "--no-validate", "--work-dir", "again", cwd=folder
    )
    assert done.returncode == 0, done.stderr
    assert_same_run(folder / "again/epoch_2.pth", checkpoint)


@pytest.mark.slow
def test_test_prints_and_writes_the_report(folder, experiment, checkpoint):
    done = run_tool(
        "test.py", experiment, checkpoint, "--work-dir", "tested", "--dump", "scores.json",
        cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads((folder / "tested/result.json").read_text())
    dump = json.loads((folder / "scores.json").read_text())
    labels = np.array([clip["label"] for clip in dump["clips"]])
    right = labels == [clip["prediction"] for clip in dump["clips"]]
    np.testing.assert_array_equal(labels, np.arange(7) % 3)
    assert dump["clips"][4]["path"].endswith("val_4.npy")
    assert dump["classes"] == ["left", "right", "turn around"]

    assert result["metrics"]["top1"] == pytest.approx(right.mean())
    assert result["metrics"]["top5"] == 1.0
    by_class = [right[labels == label].mean() for label in range(3)]
    assert result["metrics"]["mean_class_accuracy"] == pytest.approx(np.mean(by_class))
    assert result["evaluator"]["acc/top1"] == pytest.approx(right.mean())
    assert [row["clips"] for row in result["classes"]] == [3, 2, 2]
    assert np.sum(result["confusion"]) == 7
    assert result["checkpoint"] == str(checkpoint)
    assert len(result["checkpoint_sha256"]) == 64
    assert result["versions"]["torch"] == torch.__version__

    table = [line.split() for line in done.stdout.splitlines()]
    assert ["turn", "around", "2", f"{by_class[2]:.4f}"] in table
    assert ["top1", "7", f"{right.mean():.4f}"] in table
    picture = (folder / "tested/confusion_matrix.png").read_bytes()
    assert picture.startswith(b"\x89PNG")


@pytest.mark.slow
def test_resume_goes_on_from_the_newest_checkpoint(folder, experiment, checkpoint):
    options = ["--work-dir", "parts", "--cfg-options"]
    first = run_tool(
        "train.py", experiment, "--seed", "5", *options, "train_cfg.max_epochs=1", cwd=folder
    )
    assert first.returncode == 0, first.stderr
    second = run_tool("train.py", experiment, "--resume", "--work-dir", "parts", cwd=folder)
    assert second.returncode == 0, second.stderr
    assert_same_run(folder / "parts/epoch_2.pth", checkpoint)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["train.py", "dist_train.sh"])
def test_missing_data_is_one_line(folder, experiment, command):
    extra = ["2"] if command.endswith(".sh") else []
    done = run_tool(
        command, experiment, *extra, "--work-dir", "never",
        "--cfg-options", "train_dataloader.dataset.ann_file=data/nowhere.txt", cwd=folder,
    )  # fmt: skip
    assert_one_line_error(done, "data/nowhere.txt", "to get it: python make_the_data.py")
    assert not (folder / "never").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "parts"),
    [
        (["train.py", "{experiment}", "--resume", "--work-dir", "x"], ["nothing to resume in x"]),
        (["test.py", "{experiment}", "no.pth"], ["checkpoint no.pth does not exist"]),
    ],
)
def test_what_the_user_can_put_right_has_no_traceback(folder, experiment, command, parts):
    done = run_tool(*(c.format(experiment=experiment) for c in command), cwd=folder)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert all(part in done.stderr for part in parts)


@pytest.mark.slow
def test_printed_config_is_a_config(folder, experiment):
    done = run_tool(
        "print_config.py",
        experiment,
        "--cfg-options",
        "optim_wrapper.optimizer.lr=0.125",
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    expected = load_config(str(experiment), {"optim_wrapper.optimizer.lr": 0.125})
    assert Config.fromstring(done.stdout, ".py").to_dict() == expected.to_dict()


@pytest.fixture(scope="module")
def shared_experiment(folder):
    """Without dropout, which no two layouts share, and with a step that is linear in gradients."""
    extra = f"""
optim_wrapper["optimizer"] = dict(type="SGD", lr=0.1, momentum=0.9, weight_decay=0.01)
train_dataloader["dataset"]["pipeline"] = {RANDOM_PIPELINE}
custom_hooks = [dict(type="ParameterReportHook"), dict(type="FlowStatisticsHook", interval=1)]
"""
    return write_experiment(folder / "shared", num_val=7, extra=extra)


@pytest.fixture(scope="module")
def two_processes(folder, shared_experiment):
    """The folder of a training by two processes over gloo."""
    done = run_tool(
        "dist_train.sh", shared_experiment, "2", "--seed", "3", "--work-dir", "two", cwd=folder
    )
    assert done.returncode == 0, done.stderr
    return folder / "two"


def read_scalars(work_dir, name):
    (log,) = work_dir.glob("*/vis_data/scalars.json")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return [line[name] for line in lines if name in line]


@pytest.mark.slow
def test_two_processes_train_like_one_with_the_doubled_batch(
    folder, shared_experiment, two_processes
):
    """Augmentation included: it depends on the sample, not on who loads it."""
    assert json.loads((two_processes / "run.json").read_text())["world_size"] == 2
    train_here(shared_experiment, folder / "one", {"train_dataloader.batch_size": 4})
    for name in ("epoch_1.pth", "epoch_2.pth"):
        one, two = (torch.load(folder / run / name) for run in ("one", "two"))
        assert one["state_dict"].keys() == two["state_dict"].keys()
        for key, value in one["state_dict"].items():
            torch.testing.assert_close(two["state_dict"][key], value, atol=1e-6, rtol=0)
        # The momentum after a step is a sum of gradients.
        momenta = [
            [state["momentum_buffer"] for state in run["optimizer"]["state"].values()]
            for run in (one, two)
        ]
        assert len(momenta[0]) == 7
        torch.testing.assert_close(momenta[1], momenta[0], atol=1e-6, rtol=0)
    for name in ("acc/top1", "acc/mean1"):
        assert read_scalars(two_processes, name) == read_scalars(folder / "one", name)


@pytest.mark.slow
def test_two_processes_resume_like_an_uninterrupted_run(folder, shared_experiment, two_processes):
    parts = folder / "two_parts"
    parts.mkdir()
    (parts / "epoch_1.pth").write_bytes((two_processes / "epoch_1.pth").read_bytes())
    (parts / "last_checkpoint").write_text("epoch_1.pth")
    done = run_tool(
        "dist_train.sh", shared_experiment, "2", "--resume", "--work-dir", "two_parts", cwd=folder
    )
    assert done.returncode == 0, done.stderr
    assert_same_run(parts / "epoch_2.pth", two_processes / "epoch_2.pth")


@pytest.mark.slow
def test_two_processes_test_an_odd_number_of_clips_like_one(
    folder, shared_experiment, two_processes
):
    """The clip that fills up the last batch must not count twice."""
    checkpoint = two_processes / "epoch_2.pth"
    done = run_tool(
        "dist_test.sh", shared_experiment, checkpoint, "2", "--work-dir", "tested_by_two",
        "--dump", "two.pkl", cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    cfg = make_config(shared_experiment, folder / "tested_by_one")
    one = evaluate_checkpoint(cfg, str(checkpoint), dump=str(folder / "one.pkl"))
    two = json.loads((folder / "tested_by_two/result.json").read_text())
    assert two["world_size"] == 2
    assert two["metrics"] == one.report.figures()
    assert two["evaluator"] == pytest.approx(one.metrics)
    assert two["confusion"] == one.report.confusion.tolist()
    assert done.stdout.count("mean class accuracy") == 1  # the main process alone reports
    samples = [pickle.loads((folder / f"{name}.pkl").read_bytes()) for name in ("one", "two")]
    assert len(samples[0]) == len(samples[1]) == 7
    for left, right in zip(*samples, strict=True):
        torch.testing.assert_close(left["pred_score"], right["pred_score"])
        assert torch.equal(left["gt_label"], right["gt_label"])


FAKE_SRUN = """#!/bin/bash
printf '%s\\n' "$MASTER_PORT" "$PYTHONPATH" "$@" > "$SRUN_LOG"
[[ -n ${SRUN_TASKS:-} ]] || exit 0
while [[ $1 != */python* ]]; do shift; done
for ((task = 0; task < SRUN_TASKS; task++)); do
    SLURM_PROCID=$task SLURM_LOCALID=$task SLURM_NTASKS=$SRUN_TASKS SLURM_NODELIST=n "$@" &
done
status=0
for ((task = 0; task < SRUN_TASKS; task++)); do wait -n || status=$?; done
exit $status
"""


@pytest.fixture
def slurm(tmp_path):
    """Run a Slurm script with a srun that writes down its arguments, and can start tasks."""
    for name, text in (("srun", FAKE_SRUN), ("scontrol", "#!/bin/sh\necho 127.0.0.1\n")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    log = tmp_path / "log"

    def run(*command, cwd=tmp_path, **variables):
        path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
        done = run_tool(*command, cwd=cwd, PATH=path, SRUN_LOG=str(log), **variables)
        assert done.returncode == 0, done.stderr
        return log.read_text().splitlines()

    return run


def test_slurm_training_asks_for_what_mmaction2_asks_for(slurm):
    port, path, *arguments = slurm(
        "slurm_train.sh", "video", "my job", "x.py", "work", "--seed", "3", "--cfg-options",
        "a=[1, 2]", PYTHON="py", GPUS="16", GPUS_PER_NODE="4", CPUS_PER_TASK="7",
        SRUN_ARGS="--quotatype=auto --exclude=n1",
    )  # fmt: skip
    assert 12000 <= int(port) < 32000
    assert path.split(os.pathsep)[0] == str(ROOT)
    assert arguments == [
        "--partition=video", "--job-name=my job", "--ntasks=16", "--cpus-per-task=7",
        "--gres=gpu:4", "--ntasks-per-node=4", "--kill-on-bad-exit=1", "--quotatype=auto",
        "--exclude=n1", "py", "-u", str(ROOT / "tools/train.py"), "x.py", "--work-dir", "work",
        "--seed", "3", "--cfg-options", "a=[1, 2]", "--launcher", "slurm",
    ]  # fmt: skip


def test_slurm_defaults_and_no_work_dir(slurm):
    port, _, *arguments = slurm(
        "slurm_train.sh", "p", "j", "x.py", "--resume", PYTHON="py", MASTER_PORT="23456"
    )
    assert port == "23456"
    assert {"--ntasks=8", "--gres=gpu:8", "--ntasks-per-node=8", "--cpus-per-task=5"} <= set(
        arguments
    )
    assert arguments[-4:] == ["x.py", "--resume", "--launcher", "slurm"]


def test_slurm_without_gpus_asks_for_none(slurm):
    arguments = slurm("slurm_test.sh", "p", "j", "x.py", "x.pth", GPUS="2", GPUS_PER_NODE="0")
    assert "--ntasks=2" in arguments
    assert not [argument for argument in arguments if "gres" in argument]
    assert arguments[-5:] == [str(ROOT / "tools/test.py"), "x.py", "x.pth", "--launcher", "slurm"]


@pytest.mark.slow
def test_slurm_tasks_find_each_other(slurm, folder, shared_experiment, two_processes):
    slurm(
        "slurm_test.sh", "p", "j", shared_experiment, two_processes / "epoch_2.pth",
        "--work-dir", "tested_by_slurm", cwd=folder, SRUN_TASKS="2", GPUS="2", GPUS_PER_NODE="0",
        MASTER_PORT=str(free_port()),
    )  # fmt: skip
    result = json.loads((folder / "tested_by_slurm/result.json").read_text())
    assert result["world_size"] == 2
    assert np.sum(result["confusion"]) == 7


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


SCRIPTS = sorted(path.name for path in (ROOT / "tools").glob("*.sh"))


@pytest.mark.parametrize("script", SCRIPTS)
def test_script_is_well_formed(script):
    done = subprocess.run(
        ["bash", "-n", ROOT / "tools" / script], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("script", [name for name in SCRIPTS if name != "launch.sh"])
def test_script_without_arguments_tells_its_usage(script, tmp_path):
    done = run_tool(script, "only_one", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: ")
    assert os.access(ROOT / "tools" / script, os.X_OK)


def test_nodes_agree_on_port_and_address(tmp_path):
    """As MMAction2's scripts do, by environment variables."""
    fake = tmp_path / "python"
    fake.write_text('#!/bin/bash\nprintf "%s\\n" "$*" >> "$0.log"\n')
    fake.chmod(0o755)
    done = run_tool(
        "dist_train.sh", "x.py", "4", "--amp", cwd=tmp_path, PYTHON=str(fake), NNODES="2",
        NODE_RANK="1", MASTER_ADDR="node0",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    check, launch = (tmp_path / "python.log").read_text().splitlines()
    train = ROOT / "tools/train.py"
    assert check == f"{train} x.py --amp --dry-run"
    assert launch == (
        f"{ROOT / 'tools/torchrun.py'} --nnodes=2 --node-rank=1 --nproc-per-node=4 "
        f"--master-addr=node0 --master-port=29500 {train} x.py --amp --launcher pytorch"
    )
