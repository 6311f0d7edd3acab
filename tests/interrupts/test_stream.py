"""Ctrl-C at any moment of a loop over a stream in a `with`: the report is found each time."""

from __future__ import annotations

import pytest
from childprocess import run_script

LOOP = """
import json, random, time
from functools import partial
from paceline import BatchExecutor

seed, ordered, rounds = int(sys.argv[1]), sys.argv[2] == "True", int(sys.argv[3])
rng = random.Random(seed)
executor = BatchExecutor(max_workers=3)
begun = []

def work(number):
    begun.append(number)
    if number % 7 == 3:
        raise LookupError(number)
    time.sleep(0.0002 * (number % 3))
    return number

found = unbound = carried = 0
for attempt in range(rounds):
    outcomes = caught = None
    begun.clear()
    operations = [partial(work, number) for number in range(80)]
    taken = []
    done = False
    delay = rng.uniform(0, 0.02)
    def send():
        time.sleep(delay)
        if not done:
            os.kill(os.getpid(), signal.SIGINT)
    sender = threading.Thread(target=send)
    try:
        sender.start()
        with executor.stream(operations, ordered=ordered) as outcomes:
            for outcome in outcomes:
                taken.append(outcome.index)
                for _ in range(rng.randrange(200)):
                    pass
        while True:
            time.sleep(0.001)
    except KeyboardInterrupt as error:
        caught = error
    done = True
    sender.join()
    assert caught is not None
    if outcomes is None:
        # It came before the block was entered.
        assert not begun, begun
        unbound += 1
        continue
    report = outcomes.report()
    assert sum(report.counts.values()) == 80, report
    assert report.settle(20)
    carried += getattr(caught, "batch_report", None) is report
    assert report.counts["running"] == 0
    left = [each.index for each in report]
    lost = set(range(80)) - set(taken) - set(left)
    assert not lost, lost
    assert not set(taken) & set(left)
    called = {each.index for each in report if each.status in ("done", "failed")}
    assert called | set(taken) == set(begun), "only what never began is not_started"
    found += 1
print(json.dumps([found, unbound, carried]))
executor.shutdown()
"""


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("seed", [1, 2])
def test_the_report_is_found_whenever_ctrl_c_comes(seed: int, ordered: bool) -> None:
    rounds = 60
    ended = run_script(LOOP, str(seed), str(ordered), str(rounds), timeout=50).assert_silent()
    found, unbound, carried = ended.last_json()
    assert found + unbound == rounds
    assert found > rounds / 2
    assert carried > 0
