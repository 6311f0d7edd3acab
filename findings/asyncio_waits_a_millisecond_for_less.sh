#!/usr/bin/env bash
# On Linux an event loop of asyncio that has nothing else to do wakes up a millisecond late or so.
set -euo pipefail
${PYTHON:-python3} - <<'EOF'
import asyncio
import platform
import statistics
import time


async def main():
    took = []
    for _ in range(300):
        began = time.perf_counter()
        await asyncio.sleep(0.0001)
        took.append(time.perf_counter() - began)
    return statistics.median(took)


for_asyncio = asyncio.run(main())
took = []
for _ in range(300):
    began = time.perf_counter()
    time.sleep(0.0001)
    took.append(time.perf_counter() - began)
for_a_thread = statistics.median(took)
print("Python", platform.python_version(), "on", platform.system())
print("guess: asyncio.sleep(0.0001) takes about as long as time.sleep(0.0001)")
print(f"asyncio: {for_asyncio * 1e3:.2f} ms, a thread: {for_a_thread * 1e3:.2f} ms")
assert for_asyncio > 4 * for_a_thread, (for_asyncio, for_a_thread)
assert for_asyncio > 0.001, for_asyncio
EOF
