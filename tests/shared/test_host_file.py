"""A limit that processes of one host share, by a name or a file."""

import copy
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from paceline import BatchExecutor, RateLimiter

MINUTE = 60.0


def in_another_process(program: str, *arguments: object) -> str:
    # Python 3.12 and newer warn of forks in processes with threads.
    quiet = ["-W", "ignore::DeprecationWarning"]
    command = [sys.executable, *quiet, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.stderr == ""
    assert done.returncode == 0
    return done.stdout.strip()


TAKE = """
import sys
from paceline import RateLimiter
limiter = RateLimiter(int(sys.argv[2]), per=float(sys.argv[3]), shared=sys.argv[1])
print(sum(limiter.try_acquire() for _ in range(int(sys.argv[4]))))
"""


def test_two_limiters_of_one_file_are_one_limit(place: Path) -> None:
    one, other = (RateLimiter(5, per=MINUTE, shared=place) for _ in range(2))
    assert [one.try_acquire(), other.try_acquire(3), one.try_acquire(2)] == [True, True, False]
    assert other.try_acquire()
    assert not one.try_acquire()
    assert one.wait_time() == pytest.approx(other.wait_time(), abs=1)


def test_what_a_process_has_spent_counts_after_its_end(place: Path) -> None:
    assert in_another_process(TAKE, place, 5, MINUTE, 3) == "3"
    assert in_another_process(TAKE, place, 5, MINUTE, 3) == "2"
    assert not RateLimiter(5, per=MINUTE, shared=place).try_acquire()


def test_a_name_is_the_same_for_all_processes_whatever_their_environment() -> None:
    name = f"test-{uuid4()}"
    limiter = RateLimiter(3, per=MINUTE, shared=name)
    try:
        assert limiter.try_acquire(2)
        program = (
            "import os; os.environ.clear(); os.environ['TMPDIR'] = '/nowhere'; os.chdir('/');"
            + TAKE
        )
        assert in_another_process(program, name, 3, MINUTE, 5) == "1"
        assert not limiter.try_acquire()
        assert repr(limiter).endswith(f"shared='{name}')")
    finally:
        file = Path(str(limiter.stats().shared))
        for path in file.parent.glob(f"{name}*"):
            path.unlink()


def test_a_string_with_a_separator_is_a_path(place: Path) -> None:
    limiter = RateLimiter(2, per=MINUTE, shared=str(place))
    assert limiter.try_acquire()
    assert place.exists()
    assert place.stat().st_mode & 0o777 == 0o600
    assert RateLimiter(2, per=MINUTE, shared=place).stats().permits == 1
    again = eval(repr(limiter), {"RateLimiter": RateLimiter})
    assert again.stats().permits == 1


def test_it_can_be_pickled_and_copied_and_goes_on_sharing(place: Path) -> None:
    limiter = RateLimiter(10, per=MINUTE, burst=8, margin=1.5, adaptive=True, shared=place)
    assert limiter.try_acquire(3)
    for again in (
        pickle.loads(pickle.dumps(limiter)),
        copy.copy(limiter),
        copy.deepcopy(limiter),
    ):
        assert repr(again) == repr(limiter)
        assert again.try_acquire()
    assert limiter.stats().permits == 6
    private = RateLimiter(10, per=1)
    neighbour = RateLimiter(10, per=MINUTE, shared=place.with_name("neighbour"))
    both = pickle.loads(pickle.dumps(limiter & neighbour))
    assert len(both.parts) == 2
    with pytest.raises(TypeError, match="cannot pickle 'RateLimiter' object"):
        pickle.dumps(limiter & private)


def take_and_tell(limiter: RateLimiter, count: int, told: Any) -> None:
    told.put(sum(limiter.try_acquire() for _ in range(count)))


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_of_multiprocessing_share_it(place: Path, method: str) -> None:
    limiter = RateLimiter(5, per=MINUTE, shared=place)
    assert limiter.try_acquire(2)
    context = multiprocessing.get_context(method)
    told = context.Queue()
    child = context.Process(target=take_and_tell, args=(limiter, 9, told))
    child.start()
    assert told.get(timeout=20) == 3
    child.join(20)
    assert child.exitcode == 0
    assert not limiter.try_acquire()


def test_a_forked_child_goes_on_sharing_whatever_the_parent_was_at(place: Path) -> None:
    program = """
import os, sys, threading, time
from paceline import RateLimiter
limiter = RateLimiter(50, per=0.3, shared=sys.argv[1])
end = time.monotonic() + 3
def spend():
    while time.monotonic() < end:
        limiter.acquire()
threads = [threading.Thread(target=spend) for _ in range(4)]
for thread in threads:
    thread.start()
children = []
for _ in range(20):
    time.sleep(0.02)
    child = os.fork()
    if not child:
        try:
            for _ in range(3):
                limiter.acquire()
        finally:
            os._exit(0)
    children.append(child)
print([os.waitpid(child, 0)[1] for child in children] == [0] * 20)
for thread in threads:
    thread.join()
"""
    assert in_another_process(program, place) == "True"


def test_other_numbers_are_refused_while_permits_count(place: Path) -> None:
    limiter = RateLimiter(5, per=0.3, margin=0, shared=place)
    assert limiter.try_acquire()
    for limit, per, burst in ((6, 0.3, None), (5, 0.4, None), (5, 0.3, 2)):
        with pytest.raises(ValueError, match=r"in use with limit=5, per=0\.3: it cannot") as caught:
            RateLimiter(limit, per=per, burst=burst, shared=place)
        written = f"limit={limit}, per={per}" + (f", burst={burst}" if burst else "")
        assert f"be had with {written} until" in str(caught.value)
    time.sleep(0.35)
    # Those of the newcomer hold then, for everybody.
    newcomer = RateLimiter(2, per=MINUTE, margin=0, burst=1, shared=place)
    assert (limiter.limit, limiter.per, limiter.burst) == (2, MINUTE, 1)
    assert newcomer.try_acquire()
    assert not limiter.try_acquire()
    with pytest.raises(ValueError, match="weight must be at most 1"):
        limiter.acquire(2)


def test_other_margins_are_each_ones_own(place: Path) -> None:
    strict = RateLimiter(1, per=0.2, margin=30, shared=place)
    loose = RateLimiter(1, per=0.2, margin=0, shared=place)
    assert loose.try_acquire()
    assert strict.acquire(timeout=5)
    assert loose.wait_time() > 20


def test_an_update_holds_for_all_and_keeps_what_counts(place: Path) -> None:
    one, other = (RateLimiter(4, per=MINUTE, shared=place) for _ in range(2))
    assert one.try_acquire(3)
    other.update(6, per=MINUTE)
    assert (one.limit, one.stats().permits) == (6, 3)
    assert one.try_acquire(3)
    assert not other.try_acquire()
    one.update(2, per=MINUTE)
    assert other.limit == 2
    assert not other.try_acquire()
    # Six were given: the window has room when five of them have left.
    assert other.wait_time() == pytest.approx(one.wait_time(), abs=1)


def test_the_file_of_another_version_or_kind_is_refused(place: Path) -> None:
    place.write_bytes(b"notes of somebody\n")
    with pytest.raises(ValueError, match="is not the file of a shared limit of this version"):
        RateLimiter(5, per=1, shared=place)
    assert place.read_bytes() == b"notes of somebody\n"
    place.write_bytes(bytes(1 << 16))
    with pytest.raises(ValueError, match="is not the file of a shared limit"):
        RateLimiter(5, per=1, shared=place)
    with pytest.raises(ValueError, match="is a folder: give a file in it"):
        RateLimiter(5, per=1, shared=place.parent)
    with pytest.raises(OSError, match="cannot share a limit in"):
        RateLimiter(5, per=1, shared=place / "deeper" / "limit")


@pytest.mark.parametrize(
    ("shared", "error", "words"),
    [
        (5, TypeError, "shared must be a name, a path or an address"),
        (b"name", TypeError, "shared must be a name, a path or an address"),
        (True, TypeError, "shared must be a name, a path or an address"),
        ("", ValueError, "shared must be a name of 1 to 200 bytes"),
        (".", ValueError, "does not begin with a dot"),
        ("a" * 201, ValueError, "shared must be a name of 1 to 200 bytes"),
        ("a\nb", ValueError, "shared may have letters"),
        ("ftp://host/name", ValueError, "shared must be"),
    ],
)
def test_what_is_no_place_is_refused(shared: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        RateLimiter(5, per=1, shared=shared)


def test_the_largest_limit_has_a_file_of_80_megabytes(place: Path) -> None:
    with pytest.raises(ValueError, match="at most 10000000, for which its file has 80 MB"):
        RateLimiter(10_000_001, per=1, shared=place)
    assert not place.exists()
    limiter = RateLimiter(10_000_000, per=MINUTE, shared=place)
    assert place.stat().st_size <= 16 * 10_000_000
    assert limiter.try_acquire(9_999_999)
    assert limiter.try_acquire()
    assert not limiter.try_acquire()
    assert limiter.wait_time() > 50


def test_it_is_the_same_limit_for_executors(place: Path) -> None:
    executors = [BatchExecutor(RateLimiter(10, per=0.4, shared=place), 4) for _ in range(2)]
    began = time.monotonic()
    for executor in executors:
        report = executor.run([time.monotonic] * 10)
        assert len(report.values()) == 10
    assert time.monotonic() - began >= 0.4
    starts = executors[0].run([time.monotonic] * 21).values()
    starts.sort()
    assert all(later - start >= 0.4 for start, later in zip(starts, starts[10:], strict=False))
    for executor in executors:
        executor.shutdown()


def test_a_combination_charges_all_or_none(place: Path) -> None:
    other_place = place.with_name("other")
    shared, other = (
        RateLimiter(3, per=MINUTE, shared=place),
        RateLimiter(2, per=MINUTE, shared=other_place),
    )
    private = RateLimiter(9, per=MINUTE)
    all_three = private & shared & other
    assert all_three.try_acquire(2)
    assert not all_three.try_acquire()
    assert (shared.stats().permits, other.stats().permits) == (2, 2)
    assert private.try_acquire(7)
    assert not private.try_acquire()
    assert not all_three.acquire(timeout=0.05)
    assert (shared.stats().permits, other.stats().permits) == (2, 2)


def test_one_limit_twice_in_a_combination_is_charged_once(place: Path) -> None:
    one = RateLimiter(2, per=MINUTE, shared=place)
    link = place.with_name("link")
    link.symlink_to(place)
    other = RateLimiter(2, per=MINUTE, shared=link)
    private = RateLimiter(9, per=MINUTE)
    assert one & other is one
    assert (private & one & other).parts == (private, one)
    assert ((private & one) & (private & other)).acquire(timeout=20)
    assert (one & other).acquire(timeout=20)
    assert not (one & other).try_acquire()
    strict = RateLimiter(2, per=MINUTE, shared=place, margin=0)
    with pytest.raises(ValueError, match="give both the same margin"):
        one & private & strict


def test_statistics_tell_who_shares_it(place: Path) -> None:
    limiter = RateLimiter(7, per=MINUTE, shared=place)
    limiter.try_acquire(3)
    limiter.pause(30)
    stats = limiter.stats()
    assert stats.shared == str(place)
    assert (stats.limit, stats.per, stats.effective_limit, stats.permits) == (7, MINUTE, 7, 3)
    assert 25 < stats.paused_for <= 30
    assert (stats.paused_because, stats.paused_by) == ("pause", os.getpid())
    assert [(it.pid, it.waits_for) for it in stats.holders] == [(os.getpid(), 0)]
    assert abs(stats.holders[0].since - time.time()) < 60
    alone = RateLimiter(7, per=MINUTE).stats()
    assert (alone.shared, alone.permits, alone.paused_for) == (None, 0, 0)
    assert alone.holders == ()
    with pytest.raises(AttributeError, match="see its parts"):
        (limiter & RateLimiter(1, per=1)).stats()


def test_calls_may_end_after_the_limit_was_lowered(place: Path) -> None:
    """The file that is put in the place of theirs has fewer places than they know."""
    limiter = RateLimiter(1000, per=MINUTE, shared=place)
    assert limiter.try_acquire(500)
    go = threading.Event()
    with BatchExecutor(limiter, max_workers=4) as executor:
        running = [executor.submit(go.wait, 30) for _ in range(4)]
        while limiter.stats().permits < 504:
            time.sleep(0.001)
        limiter.update(10, MINUTE)
        go.set()
        assert [call.result(timeout=30) for call in running] == [True] * 4
        limiter.update(1000, MINUTE)
        assert executor.execute(lambda: "goes on") == "goes on"


def test_permits_are_found_behind_others_that_stay_long(place: Path) -> None:
    """Of a large limit not all slots are looked at for each permit."""
    long, short = (RateLimiter(20_000, per=0.5, margin=margin, shared=place) for margin in (30, 0))
    assert long.try_acquire()
    for _ in range(3):
        assert sum(short.try_acquire() for _ in range(20_000)) >= 19_999
        time.sleep(0.5)


def test_permits_that_a_refusal_gave_back_are_found(place: Path) -> None:
    limiter = RateLimiter(20_000, per=MINUTE, shared=place)
    assert limiter.try_acquire(10_000)
    assert not limiter.try_acquire(10_001)
    assert sum(limiter.try_acquire() for _ in range(10_001)) == 10_000


def test_waits_for_many_permits_of_a_large_limit_are_foreseen(place: Path) -> None:
    limiter = RateLimiter(20_000, per=1, margin=0, shared=place)
    assert all(limiter.try_acquire(5_000) for _ in range(4))
    assert 0 < limiter.wait_time(12_000) <= 1
    assert limiter.acquire(12_000, timeout=30)


def test_a_link_and_its_file_are_one_limit(place: Path) -> None:
    limiter = RateLimiter(5, per=MINUTE, shared=place)
    link = place.with_name("link")
    link.symlink_to(place)
    by_link = RateLimiter(5, per=MINUTE, shared=link)
    assert limiter.try_acquire(2)
    by_link.update(6, MINUTE)
    assert by_link.try_acquire(3)
    assert [limiter.try_acquire(2), limiter.try_acquire()] == [False, True]
    assert link.is_symlink()


def test_a_file_that_is_replaced_disturbs_no_neighbour(place: Path) -> None:
    beside = [place.with_name(f"{place.name}.new"), place.with_name("other")]
    limiter, *others = (RateLimiter(5, per=MINUTE, shared=path) for path in (place, *beside))
    limiter.update(6, MINUTE)
    assert all(other.try_acquire(5) and not other.try_acquire() for other in others)


def test_a_process_goes_on_while_another_one_has_the_file_locked(place: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    limiter = RateLimiter(1000, per=MINUTE, shared=place)
    with Path(f"{place}.lock").open("r+") as locked:
        fcntl.flock(locked, fcntl.LOCK_EX)
        update = threading.Thread(target=limiter.update, args=(900, MINUTE))
        update.start()
        time.sleep(0.1)
        began = time.monotonic()
        assert limiter.try_acquire()
        assert limiter.limit == 1000
        assert time.monotonic() - began < 2
        assert update.is_alive()
    update.join(30)
    assert limiter.limit == 900


def test_a_file_whose_folder_has_gone_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    waits = RateLimiter(1000, per=MINUTE, shared=folder / "limit")
    raises = RateLimiter(1000, per=MINUTE, shared=folder / "limit", when_lost="raise")
    assert waits.try_acquire(900)
    shutil.rmtree(folder)
    time.sleep(1.1)
    with caplog.at_level("WARNING", logger="paceline"):
        assert not waits.acquire(timeout=0.1)
        with pytest.raises(ConnectionError, match="limit"):
            raises.acquire(timeout=30)
        folder.mkdir()
        assert waits.acquire(timeout=30)
    told = [record.getMessage().split()[0].rstrip(":") for record in caplog.records]
    assert "limiter_lost" in told
    assert not raises.acquire(100, timeout=0.1)


def test_what_does_not_fit_is_not_left_behind(place: Path) -> None:
    program = """
import resource, signal, sys
from paceline import RateLimiter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    RateLimiter(1_000_000, per=1, shared=sys.argv[1])
except OSError as error:
    print("cannot make the shared limit" in str(error))
"""
    pytest.importorskip("resource")
    assert in_another_process(program, place) == "True"
    assert sorted(path.name for path in place.parent.iterdir()) == [f"{place.name}.lock"]
