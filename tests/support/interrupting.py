"""Every verb that waits, for the tests that interrupt it."""

VERBS = {
    "execute": "executor.execute(work)",
    "execute_batch": "executor.execute_batch([work] * 200)",
    "run": "executor.run([work] * 200)",
    "stream": "list(executor.stream([work] * 200))",
    "endless stream": "list(executor.stream(itertools.repeat(work)))",
    "ordered stream": "list(executor.stream([work] * 200, ordered=True))",
    "map": "list(executor.map(lambda _: work(), range(200)))",
    "map ahead": "list(executor.map(lambda _: work(), itertools.count(), buffersize=3))",
    "result": "executor.submit(work).result()",
}
