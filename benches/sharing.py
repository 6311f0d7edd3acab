"""What a permit of a limit costs that processes share, alone and contended."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import pyrate_limiter
from limiters import take, take_in_threads
from measuring import Target, interleave, ratio

from paceline import RateLimiter

# The largest limit of a host file, in an hour: nobody ever waits.
ROOM = 9_000_000
PER = 3600
PERMITS = 20_000
# A permit of SQLite takes a thousand times as long.
FEW = 40

PROCESS = """
import sys, threading
from limiters import take_in_threads
from paceline import RateLimiter
limiter = RateLimiter(int(sys.argv[2]), per=int(sys.argv[3]), shared=sys.argv[1])
for line in sys.stdin:
    take_in_threads(limiter.acquire, int(line), 4)
    print("done", flush=True)
"""


def sqlite_bucket(folder: Path) -> pyrate_limiter.Limiter:
    """PyrateLimiter's bucket for several processes of a host: SQLite and a file lock."""
    bucket = pyrate_limiter.SQLiteBucket.init_from_file(
        [pyrate_limiter.Rate(ROOM, PER * 1000)],
        db_path=str(folder / "bucket.sqlite"),
        use_file_lock=True,
    )
    return pyrate_limiter.Limiter(bucket)


def shared_acquire(rounds: int) -> list[Target]:
    """One permit of a limit that processes share, uncontended."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        private = RateLimiter(ROOM, per=PER)
        shared = RateLimiter(ROOM, per=PER, shared=folder / "limit")
        sqlite = sqlite_bucket(folder)
        seconds = interleave(
            {
                "paceline": partial(take, private.acquire, PERMITS),
                "paceline, shared by a file": partial(take, shared.acquire, PERMITS),
                "pyrate_limiter, SQLite and a lock": partial(
                    take, partial(sqlite.try_acquire, "bench"), FEW
                ),
            },
            rounds,
        )
    each = dict.fromkeys(seconds, PERMITS) | {"pyrate_limiter, SQLite and a lock": FEW}
    for name, values in seconds.items():
        value = statistics.median(values)
        print(f"  {name:36}{1e6 * value / each[name]:10.3f} us a permit")
    of_private = ratio(seconds, "paceline, shared by a file", "paceline")
    of_sqlite = ratio(seconds, "pyrate_limiter, SQLite and a lock", "paceline, shared by a file")
    return [
        Target("one permit shared by a file, times a private one", of_private, 6),
        Target(
            "PyrateLimiter's with SQLite, times that", of_sqlite * PERMITS / FEW, 100, at_least=True
        ),
    ]


def shared_contended(rounds: int) -> list[Target]:
    """One permit of a shared limit with 4 processes of 4 threads after it, beside one thread."""
    permits = 40_000
    with tempfile.TemporaryDirectory() as name:
        place = str(Path(name) / "limit")
        limiter = RateLimiter(ROOM, per=PER, shared=place)
        others = [
            subprocess.Popen(
                [sys.executable, "-c", PROCESS, place, str(ROOM), str(PER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=Path(__file__).parent,
            )
            for _ in range(4)
        ]

        def all_processes() -> None:
            for process in others:
                assert process.stdin
                process.stdin.write(f"{permits // 4}\n")
                process.stdin.flush()
            for process in others:
                assert process.stdout
                process.stdout.readline()

        all_processes()
        seconds = interleave(
            {
                "1 thread": partial(take_in_threads, limiter.acquire, permits, 1),
                "4 processes of 4 threads": all_processes,
            },
            rounds,
        )
        for process in others:
            process.communicate()
    for name, values in seconds.items():
        value = statistics.median(values)
        print(f"  {name:36}{1e6 * value / permits:10.3f} us a permit")
    cost = ratio(seconds, "4 processes of 4 threads", "1 thread")
    return [Target("one permit among 4 processes of 4 threads, times alone", cost, 4)]
