"""Kills a study again and again, and looks whether it ends with the bits of one that nobody disturbed.

python -m tests.soak_kill --kills=50 --stops=10 --full_disks=5

The study prepares a small CIFAR-10 from an archive, decodes and caches it, compiles, trains, and writes
checkpoints, records and results. Half of the kills come at a random moment, the others as soon as a file is there
that is being written. `--full_disks` needs the right to mount a small tmpfs. The outcome goes to
experiments/results/soak_kill.json; exit status 1 if anything was lost, or a process said what it should not.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from absl import app, flags

from mlp_jax.files import as_json, sealed, write
from mlp_jax.studies import results
from tests import studies
from tests.test_cifar10 import members, pack

flags.DEFINE_integer("kills", 50, "SIGKILLs")
flags.DEFINE_integer("stops", 10, "SIGTERMs")
flags.DEFINE_integer("full_disks", 5, "disks that fill up")
flags.DEFINE_integer("seed", 0, "of the moments")

IN_WORK = {
    "preparing the data set": ("tfds/cifar10/incomplete.*",),
    "writing the decoded cache": ("cache/mlp_jax/.*.mlp_jax-unfinished",),
    "writing a checkpoint": ("r/depth_study/checkpoints/.*",), "writing rows": ("r/depth_study/.partial.json.*",),
    "writing results": ("r/depth_study/.results.json.*", "r/depth_study/.accuracy.svg.*"),
}  # fmt: skip
"""What a process was about, by the files that it has left."""
EARLIER = "going on from the one before"


class Place:
    """A folder with everything that the study reads and writes."""

    def __init__(self, folder):
        self.folder = folder
        self.stale: set[Path] = set()
        folder.mkdir(exist_ok=True)
        (folder / "small.tar.gz").write_bytes(pack(members(60)))

    def start(self):
        options = [*studies.STUDY, "--dataset=cifar10", "--batch_size=20", "--seeds=1"]
        place = {"data_dir": "tfds", "archive": "small.tar.gz", "results_dir": "r"}
        options += [f"--{name}={self.folder / path}" for name, path in place.items()]
        return subprocess.Popen(
            [sys.executable, "-m", "experiments.depth_study", *options, "--resume"],
            cwd=studies.ROOT, env={**os.environ, "XDG_CACHE_HOME": str(self.folder / "cache")},
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def look(self):
        """From now on, only files that are not there yet tell what a process is about."""
        self.stale = {path for patterns in IN_WORK.values() for p in patterns for path in self.folder.glob(p)}

    def in_work(self):
        return next((name for name in IN_WORK if self.is_at(name)), None)

    def is_at(self, name):
        """Whether a file is there that tells of this work; folders may vanish while they are looked through."""
        with contextlib.suppress(FileNotFoundError):
            return any(set(self.folder.glob(pattern)) - self.stale for pattern in IN_WORK[name])
        return False

    def finish(self):
        process = self.start()
        _, told = process.communicate(timeout=600)
        return process.returncode, told

    def outcome(self):
        return studies.outcome(self.folder / "r")

    def clear(self, everything):
        for name in ("r", *(("tfds", "cache") if everything else ())):
            shutil.rmtree(self.folder / name, ignore_errors=True)


class Soak:
    """Counts the faults that were tried and survived, and remembers what went wrong.

    A fault is survived when the study ends with the bits of the undisturbed one, whatever else came in between.
    """

    def __init__(self, place, undisturbed, longest, seed):
        self.place, self.undisturbed, self.longest = place, undisturbed, longest
        self.moments = random.Random(seed)
        self.pending: Counter[str] = Counter()
        self.tried: Counter[str] = Counter()
        self.survived: Counter[str] = Counter()
        self.fell_back = 0
        self.complaints: list[str] = []

    def count(self, fault):
        self.tried[fault] += 1
        self.pending[fault] += 1

    def times(self, prefix):
        return sum(times for fault, times in self.tried.items() if fault.startswith(prefix))

    def wait(self, process, number):
        """Until a random moment, or one at which something is being written; False if it ended before."""
        limit = time.monotonic() + self.moments.uniform(0.1, 0.9) * self.longest
        prepared = (self.place.folder / "tfds" / "cifar10").is_dir()
        aims = list(IN_WORK)[2 if prepared else 0 :]
        aim = aims[number // 2 % len(aims)] if number % 2 else None
        seen = self.moments.choice((1, 1, 5, 20))  # not always the first such file
        while process.poll() is None:
            if aim is None:
                if time.monotonic() > limit:
                    return True
                time.sleep(0.01)
                continue
            if self.place.is_at(aim):
                seen -= 1
                if seen <= 0:
                    return True
        return False

    def disturb(self, number, signum):
        """Starts the study, or goes on with it, and ends it by the signal, if it has not ended by itself."""
        self.place.look()
        process = self.place.start()
        ended = not self.wait(process, number)
        if number % 7 == 3 and not ended:
            self.start_a_second(process)
        process.send_signal(signum)
        _, told = process.communicate(timeout=120)
        if process.returncode == 0:
            self.judge(process.returncode, told)
            self.place.clear(everything=number % 3 == 0)
            return
        self.fell_back += told.count(EARLIER)
        self.count(f"{signal.Signals(signum).name}, {self.place.in_work() or 'between such moments'}")
        allowed = {128 + signum, -signum} if signum != signal.SIGKILL else {-signum}
        if process.returncode not in allowed or "Traceback" in told:
            self.complaints.append(f"signal {signum}: status {process.returncode}, {told}")
        if number % 4 == 1:
            self.damage()

    def start_a_second(self, first):
        status, told = self.place.finish()
        if status == 2 and "is at work in" in told:
            self.count("a second process on the same folder")
        elif first.poll() is None:
            self.complaints.append(f"a second process: status {status}, {told}")

    def damage(self):
        """Alters a bit of the newest checkpoint, where there are two."""
        folder = self.place.folder / "r" / "depth_study" / "checkpoints"
        files = sorted(folder.glob("*.safetensors"), key=lambda path: int(path.stem))
        if len(files) < 2:
            return
        path = files[-1]
        content = bytearray(path.read_bytes())
        content[self.moments.randrange(len(content))] ^= 1 << self.moments.randrange(8)
        path.write_bytes(content)
        self.count("a bit of the newest checkpoint altered")

    def judge(self, status, told):
        """A study that came to its end must be the undisturbed one."""
        self.fell_back += told.count(EARLIER)
        if status != 0 or "Traceback" in told:
            self.complaints.append(f"status {status}, {told}")
        elif self.place.outcome() != self.undisturbed:
            self.complaints.append("the results are not those of the undisturbed study")
        else:
            self.survived += self.pending
        self.pending.clear()


def fill_disks(soak, times):
    """The same on a file system that is full after a random number of bytes, and then has room again."""
    folder = soak.place.folder / "small disk"
    folder.mkdir()
    for _ in range(times):
        size = soak.moments.choice((2000, 2500, 3000, 4000))
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", folder], check=True)
        try:
            place = soak.place = Place(folder)
            status, told = place.finish()
            soak.count("a full disk")
            if status not in (0, 2) or "Traceback" in told or (status == 2) != ("error: " in told):
                soak.complaints.append(f"full disk: status {status}, {told}")
            print(size, status, told.splitlines()[-1:], flush=True)
            subprocess.run(["mount", "-o", "remount,size=100m", folder], check=True)
            soak.judge(*place.finish())
        finally:
            subprocess.run(["umount", folder], check=True)


def main(_):
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder) / "undisturbed")
        status, told = place.finish()
        assert status == 0, told
        started = time.monotonic()
        shutil.rmtree(place.folder / "r")
        assert place.finish()[0] == 0
        longest = time.monotonic() - started
        soak = Soak(Place(Path(folder) / "disturbed"), place.outcome(), longest, flags.FLAGS.seed)
        number = 0
        for signum, times in ((signal.SIGKILL, flags.FLAGS.kills), (signal.SIGTERM, flags.FLAGS.stops)):
            while soak.times(signal.Signals(signum).name) < times:
                soak.disturb(number, signum)
                number += 1
                print(number, dict(soak.tried), soak.complaints[-1:], flush=True)
        soak.judge(*soak.place.finish())
        soak.place.clear(everything=True)
        fill_disks(soak, flags.FLAGS.full_disks)
    content = {
        "study": "soak_kill",
        "config": {name: flags.FLAGS[name].value for name in ("kills", "stops", "full_disks", "seed")},
        "environment": results.environment(
            wall_seconds=time.monotonic() - started, command=results.command_line()
        ),
        "rows": [
            {"fault": fault, "tried": tried, "survived": soak.survived[fault]}
            for fault, tried in sorted(soak.tried.items())
        ],
        "fell_back": soak.fell_back,
        "complaints": soak.complaints,
    }
    write(studies.ROOT / "experiments" / "results" / "soak_kill.json", as_json(sealed(content)))
    print(json.dumps(content["rows"], indent=1), *soak.complaints, sep="\n")
    sys.exit(1 if soak.complaints else 0)


if __name__ == "__main__":
    app.run(main)
