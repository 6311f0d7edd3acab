#!/usr/bin/env bash
# A task of asyncio that is cancelled before its first step runs nothing of its coroutine, not even what
# its first lines protect by `finally`: whoever counts tasks in and out there loses one.
set -euo pipefail
${PYTHON:-python3} - <<'EOF'
import asyncio
import platform


async def main():
    slots = asyncio.Semaphore(1)
    log = []

    async def work():
        try:
            log.append("begun")
            await asyncio.sleep(0)
        finally:
            log.append("released")
            slots.release()

    await slots.acquire()
    task = asyncio.create_task(work())
    task.cancel()
    await asyncio.wait([task])
    return log, slots.locked()


log, locked = asyncio.run(main())
print("Python", platform.python_version())
print("guess: CancelledError is raised inside, so that `finally` gives the slot back")
print(f"what ran: {log}; the slot is {'lost' if locked else 'free'}")
assert log == [] and locked
EOF
