#!/usr/bin/env bash
# aiolimiter's AsyncLimiter(50, 1) lets nearly twice 50 start within one second.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
${PYTHON:-python3} -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check aiolimiter==1.3.0
"$folder/bin/python" - <<'EOF'
import asyncio
import importlib.metadata

from aiolimiter import AsyncLimiter


async def main():
    limiter = AsyncLimiter(50, 1)
    now = asyncio.get_running_loop().time
    starts = []

    async def one():
        async with limiter:
            starts.append(now())

    await asyncio.gather(*(one() for _ in range(150)))
    return sorted(starts)


starts = asyncio.run(main())
most = max(sum(first <= start < first + 1 for start in starts) for first in starts)
print("aiolimiter", importlib.metadata.version("aiolimiter"))
print("guess: at most 50 in any second, as the two arguments are named max_rate and time_period")
print(f"{most} started within one second")
assert most > 85, most
EOF
