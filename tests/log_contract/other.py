"""Another process on the same log. ``python -m tests.log_contract.other publish|burst URL PREFIX TOPIC NAME COUNT``.

``publish`` appends COUNT records, one call each, and prints "key partition offset" once each is acknowledged.
``burst`` does so in one call. Keys are ``NAME-0``, ``NAME-1``, … and values are the keys again.
"""

from __future__ import annotations

import asyncio
import sys

from planner.step import Message
from streams.log import open_client


async def main() -> None:
    mode, url, prefix, topic, name, count = sys.argv[1:]
    messages = [Message(topic, f"{name}-{i}".encode(), f"{name}-{i}".encode()) for i in range(int(count))]
    async with open_client(url, prefix) as client:
        for sent in [messages] if mode == "burst" else [[message] for message in messages]:
            for message, (partition, offset) in zip(sent, await client.publish(sent), strict=True):
                assert message.key is not None
                print(message.key.decode(), partition, offset, flush=True)


if __name__ == "__main__":
    asyncio.run(main())
