"""Killed at random moments and cut off from power, a run loses nothing; and the harnesses would see it if it did."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from crash import SERVERS, kill_loop

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (SERVERS / "chaos.py").exists(), reason="the shared fault server is not beside this checkout"
    ),
    pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is a thing of Unix"),
]


@pytest.mark.parametrize(("target", "kills", "concurrency"), [("map", 45, 8), ("cli", 15, 4)])
def test_sixty_kills_lose_nothing_and_pay_nothing_twice(target: str, kills: int, concurrency: int) -> None:
    harness = kill_loop(kills=kills, rows=150, concurrency=concurrency, target=target, seed=3)
    assert (dict(harness.problems), harness.samples) == ({}, {})
    assert harness.kills == kills


@pytest.mark.parametrize(
    "defect",
    [
        "report before saving",
        "save at the end",
        "resume by count",
        "resume by text",
        "forget what is done",
        "ask twice",
        "run ahead of the disk",
        "write the output first",
        "lose rows",
    ],
)
def test_the_kill_loop_sees_a_mistake(defect: str) -> None:
    assert kill_loop(kills=100, rows=150, target="map", defect=defect, seed=5, until_seen=True).problems


def power_loss(states: int, defect: str = "") -> dict[str, int]:
    words = [
        sys.executable,
        str(Path(__file__).with_name("power_loss.py")),
        "--states",
        str(states),
        "--defect",
        defect,
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    problems: dict[str, int] = json.loads(done.stdout.strip().split("\n")[-1])["problems"]
    return problems


needs_strace = pytest.mark.skipif(not shutil.which("strace"), reason="the power-loss replay needs strace")


@needs_strace
def test_no_state_of_the_disk_after_a_power_cut_loses_a_reported_row() -> None:
    assert power_loss(60) == {}


@needs_strace
@pytest.mark.parametrize("defect", ["synchronous off", "synchronous normal", "leave a torn tail"])
def test_the_power_loss_replay_sees_what_the_kill_loop_cannot(defect: str) -> None:
    assert power_loss(30, defect)
