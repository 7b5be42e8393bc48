"""The load generator as a process: a command in a line of JSON on standard input, its answer in a
line on standard output, `{"error": …}` when it failed. It ends when its input does.

    {"do": "open", "stream": "a", "transport": "ws", "url": "http://127.0.0.1:8480",
     "channel": "news", "count": 5000}                                    (all in one line)
    {"do": "publish", "stream": "a", "way": "http", "publishes": 20, "rate": 10}
    {"do": "close", "stream": "a"}
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys

import uvloop

from benchmarks.loadgen.generator import Generator


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    generator = Generator()
    while line := await reader.readline():
        try:
            answer = await generator.do(json.loads(line))
        except Exception as error:  # the one who asked decides what a failure means
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    uvloop.run(_serve())
