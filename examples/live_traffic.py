"""Live traffic for the demo page: a plain HTTP producer that feeds four channels.

    python examples/live_traffic.py --url http://127.0.0.1:8480

``market:demo`` quotes in strict order, ``ai:demo`` an answer token by token, ``sale:demo`` the
stock of a flash sale, ``alerts:demo`` what a monitoring system says.

Every message carries an idempotency key and is sent until it is answered, one at a time in each
channel. So a restart of the server loses nothing, repeats nothing and keeps the order.
It ends with status 0 on SIGINT and SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import random
import re
import signal
import sys
import uuid
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx

if TYPE_CHECKING:
    from collections.abc import Iterator

RETRY_FIRST = 0.25  # seconds
RETRY_LONGEST = 5.0  # seconds
REQUEST_TIMEOUT = 10.0  # seconds

DICE = random.Random()  # noqa: S311  (prices and pauses, no secrets)


class Beat(NamedTuple):
    """One message, and the seconds to wait before it is published."""

    wait: float
    data: dict[str, Any]


def quotes(dice: random.Random) -> Iterator[Beat]:
    """A price that walks at random, about five times a second, drawn back towards 100."""
    price = 100.0
    while True:
        change = round(dice.gauss((100 - price) * 0.004, 0.14), 2)
        price = round(price + change, 2)
        size = dice.randrange(1, 40) * 25
        yield Beat(0.2, {"symbol": "TIDE", "price": price, "change": change, "size": size})


ANSWERS = {
    "Why does a channel need a log?": (
        "Because a connection can end at any moment. If the server only hands messages over, "
        "whatever is sent in that moment is gone. With a log, each message has a place. A reader "
        "that comes back names the last place it saw, and reads on from there. Nothing is missing, "
        "and nothing comes twice."
    ),
    "When is short polling the right choice?": (
        "When news is rare, or when nothing else gets through. A badge with a number, the weather, "
        "a report that is ready in an hour: asking every few seconds costs little, every proxy "
        "understands it, and an unchanged answer is only a few bytes. You pay with delay: on "
        "average half of the interval."
    ),
    "WebSocket or Server-Sent Events?": (
        "Ask who speaks. If almost everything flows from the server, Server-Sent Events are "
        "enough: plain HTTP, and the browser reconnects by itself. If both sides speak all the "
        "time, as in a game or a chat, a WebSocket saves a request for each word. The messages "
        "are the same either way, so you can change your mind later."
    ),
    "What makes the tide come twice a day?": (
        "The moon pulls the near side of the earth more strongly than its centre, and the centre "
        "more strongly than the far side. So the sea rises on both sides at once. The earth turns "
        "below these two hills of water, and most coasts pass through each of them once a day."
    ),
}


def answers(dice: random.Random) -> Iterator[Beat]:
    """Questions answered token by token, with a pause to read after each answer."""
    for number, question in enumerate(itertools.cycle(ANSWERS), start=1):
        tokens = re.findall(r"\s*\S+", ANSWERS[question])
        for index, token in enumerate(tokens):
            data: dict[str, Any] = {"answer": number, "index": index, "token": token}
            if index == 0:
                data["question"] = question
            if index == len(tokens) - 1:
                data["done"] = True
            yield Beat(3.0 if index == 0 else dice.uniform(0.03, 0.14), data)


ITEMS = (("Harbour lamp", "€ 29"), ("Storm jacket", "€ 89"), ("Brass compass", "€ 45"))


def sale(dice: random.Random) -> Iterator[Beat]:
    """One item after the other sells out, faster and faster at first, then the next one opens."""
    for item, price in itertools.cycle(ITEMS):
        total = stock = 500
        wait = 2.5
        while stock >= 0:
            yield Beat(wait, {"item": item, "price": price, "stock": stock, "of": total})
            if stock == 0:
                break
            rush = 1 + 24 * stock // total
            stock = max(0, stock - dice.randint(1, rush))
            wait = dice.uniform(0.15, 0.7)


INCIDENTS = (
    ("checkout", "warning", "95 % of requests take up to 840 ms; the limit is 500 ms"),
    ("search", "critical", "2 of 5 nodes do not answer"),
    ("mail", "warning", "12,400 messages wait to be sent"),
    ("storage", "warning", "the disk of node 3 is 91 % full"),
    ("payments", "critical", "1 card payment in 20 fails"),
)


def alerts(dice: random.Random) -> Iterator[Beat]:
    """Something goes wrong, and a little later it is well again."""
    while True:
        service, level, text = dice.choice(INCIDENTS)
        yield Beat(dice.uniform(2, 5), {"level": level, "service": service, "text": text})
        minutes = dice.randint(2, 19)
        text = f"back to normal after {minutes} minutes"
        yield Beat(dice.uniform(2, 5), {"level": "resolved", "service": service, "text": text})


SCENES = {"market:demo": quotes, "ai:demo": answers, "sale:demo": sale, "alerts:demo": alerts}


class Producer:
    """Publishes over HTTP until each message is answered."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self._run = uuid.uuid4().hex
        self._numbers = itertools.count(1)

    async def wait_until_ready(self) -> None:
        """Return when the server takes messages; wait as long as it takes."""
        for attempt, delay in enumerate(retry_delays()):
            try:
                if (await self._client.get("readyz")).is_success:
                    return
            except httpx.TransportError:
                pass
            if attempt == 0:
                print(f"waiting for {str(self._client.base_url).rstrip('/')}", flush=True)
            await asyncio.sleep(delay)

    async def publish(self, channel: str, data: dict[str, Any]) -> None:
        """Publish one message exactly once, whatever happens to the connection or the server.

        Raises ``httpx.HTTPStatusError`` if the server refuses it for good (4xx except 408 and 429).
        """
        key = f"{self._run}-{next(self._numbers)}"
        message = {"channel": channel, "data": data, "key": key}
        for delay in retry_delays():
            try:
                answer = await self._client.post("publish", json=message)
            except httpx.TransportError:
                answer = None
            if answer is not None and answer.is_success:
                return
            if (
                answer is not None
                and answer.is_client_error
                and answer.status_code not in {408, 429}
            ):
                answer.raise_for_status()
            await asyncio.sleep(delay)


def retry_delays() -> Iterator[float]:
    """Seconds between attempts, without end: growing, with jitter."""
    ceiling = RETRY_FIRST
    while True:
        yield DICE.uniform(ceiling / 2, ceiling)
        ceiling = min(RETRY_LONGEST, ceiling * 2)


async def play(producer: Producer, channel: str, beats: Iterator[Beat], speed: float) -> None:
    """Publish the beats of one channel, one after the other, for ever."""
    for wait, data in beats:
        await asyncio.sleep(wait / speed)
        await producer.publish(channel, data)


async def run(url: str, speed: float, api_key: str | None) -> None:
    """Feed all channels until cancelled."""
    headers = {"X-API-Key": api_key} if api_key else {}
    base_url = url.rstrip("/") + "/"
    # Straight to the server: a proxy from the environment is not meant for it.
    async with httpx.AsyncClient(
        base_url=base_url, headers=headers, timeout=REQUEST_TIMEOUT, trust_env=False
    ) as client:
        producer = Producer(client)
        await producer.wait_until_ready()
        print(f"publishing to {', '.join(SCENES)} on {url}", flush=True)
        async with asyncio.TaskGroup() as tasks:
            for channel, scene in SCENES.items():
                tasks.create_task(play(producer, channel, scene(DICE), speed))


async def run_until_signalled(url: str, speed: float, api_key: str | None) -> None:
    """Feed all channels until SIGINT or SIGTERM."""
    traffic = asyncio.ensure_future(run(url, speed, api_key))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, traffic.cancel)
    try:
        await traffic
    except asyncio.CancelledError:
        print("stopped", flush=True)


def positive(text: str) -> float:
    """A command-line number above zero."""
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError("must be above 0")
    return number


def main() -> int:
    """Run from the command line; return the exit status."""
    parser = argparse.ArgumentParser(description="Feed the channels of the Tidewire demo page.")
    parser.add_argument("--url", default="http://127.0.0.1:8480", help="the server's address")
    parser.add_argument("--speed", type=positive, default=1.0, help="2 plays twice as fast")
    options = parser.parse_args()
    status = 0
    try:
        asyncio.run(
            run_until_signalled(options.url, options.speed, os.environ.get("TIDEWIRE_API_KEY"))
        )
    except* httpx.HTTPStatusError as refused:
        print(f"the server refused a message: {refused.exceptions[0]}", file=sys.stderr)
        status = 1
    return status


if __name__ == "__main__":
    raise SystemExit(main())
