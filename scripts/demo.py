"""Runs the demo: a server, live traffic through it, and one address to open.

Usage: python scripts/demo.py [options of tidewire serve]

Both processes live in their own sessions, so that ctrl-C reaches only this one, which then stops
them in order: the traffic first, then the server, which drains. On Linux the kernel also passes
the end of a parent on, so that nothing outlives make even if make or this process is killed.
"""

from __future__ import annotations

import asyncio
import ctypes
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from pathlib import Path

LISTENING = "tidewire listening on "
TRAFFIC = Path(__file__).parent.parent / "examples" / "live_traffic.py"
STOP_TIMEOUT = 15.0
"""Seconds a process may take to stop before it is killed: longer than the server drains."""

PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Has the kernel send this process SIGTERM when its parent ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


async def spawn(*command: str, stdout: int | None = None) -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        stdin=DEVNULL,
        stdout=stdout,
        start_new_session=True,
        preexec_fn=die_with_parent,
    )


async def stop(process: Process) -> None:
    """Asks the process to end, and kills it if it does not within the time-out."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_TIMEOUT)
    except TimeoutError:
        process.kill()
        await process.wait()


async def address_of(server: Process) -> str | None:
    """The URL that the server says it listens on; None if it ended before."""
    assert server.stdout is not None
    async for line in server.stdout:
        text = line.decode().rstrip()
        if text.startswith(LISTENING):
            return text.removeprefix(LISTENING).split()[0]
    return None


async def run(options: list[str]) -> int:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, ended.set)

    server = await spawn("-m", "tidewire", "serve", *options, stdout=PIPE)
    traffic: Process | None = None
    waiting = asyncio.create_task(ended.wait())
    try:
        starting = asyncio.create_task(address_of(server))
        await asyncio.wait({starting, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if waiting.done():
            starting.cancel()
            return 0
        url = starting.result()
        if url is None:
            return await server.wait() or 1

        traffic = await spawn(str(TRAFFIC), "--url", url, stdout=DEVNULL)
        print(f"\n  Open {url}/\n  ctrl-C stops the demo.\n", flush=True)
        processes = {asyncio.create_task(p.wait()): p for p in (server, traffic)}
        await asyncio.wait({waiting, *processes}, return_when=asyncio.FIRST_COMPLETED)
        for task, process in processes.items():
            if task.done():
                name = "server" if process is server else "traffic"
                print(f"the {name} ended by itself ({process.returncode})", file=sys.stderr)
                return 1
        print("\nstopping", flush=True)
        return 0
    finally:
        if traffic is not None:
            await stop(traffic)
        await stop(server)


if __name__ == "__main__":
    die_with_parent()
    sys.exit(asyncio.run(run(sys.argv[1:])))
