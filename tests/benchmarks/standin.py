"""The fake server as a program, for what starts and stops processes: `python -m tests.benchmarks.standin PORT`.

It says so once it listens, ends with SIGTERM, and has one child.
"""

import asyncio
import signal
import subprocess
import sys

from tests.benchmarks.fake_server import FakeServer, Faults


async def main(port: int) -> None:
    """Serve until SIGTERM."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    fake = FakeServer(Faults())
    async with await asyncio.start_server(fake.handle, "127.0.0.1", port):
        print(f"listening on {port}", flush=True)  # noqa: T201
        await ended.wait()
        await fake.hang_up()


if __name__ == "__main__":
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE):
        asyncio.run(main(int(sys.argv[1])))
