"""Every verb that waits, for the tests that interrupt it."""

VERBS = {
    "execute": "executor.execute(work)",
    "execute_batch": "executor.execute_batch(operations)",
    "run": "executor.run(operations)",
    "stream": "list(executor.stream(operations))",
    "endless stream": "list(executor.stream(itertools.repeat(work)))",
    "ordered stream": "list(executor.stream(operations, ordered=True))",
    "map": "list(executor.map(lambda operation: operation(), operations))",
    "map ahead": "list(executor.map(lambda _: work(), itertools.count(), buffersize=3))",
    "result": "executor.submit(work).result()",
}
