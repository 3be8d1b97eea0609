"""Hears of every call that ended, from a consumer of its own:

callbus consumer add crm --kinds settled --from beginning --keys keys
NKEY_FILE=keys/consumers/crm/nkey python subscribe.py
"""

import asyncio
import json
import os

import nats
from nats.errors import TimeoutError

NAME = os.environ.get("CONSUMER", "crm")


def take(event):
    """An event is a CloudEvent: who it is stands in the headers, what happened in the body. It may come twice, so
    whatever is done with it is done once per ce-id."""
    call = json.loads(event.data)
    print(f"{event.headers['ce-type']} of {event.headers['ce-subject']}: {json.dumps(call.get('result'))}", flush=True)


async def main():
    key = {"nkeys_seed": os.environ["NKEY_FILE"]} if "NKEY_FILE" in os.environ else {}
    bus = await nats.connect(
        os.environ.get("NATS_URL", "nats://127.0.0.1:4222"),
        inbox_prefix=f"_INBOX_{NAME}".encode(),
        max_reconnect_attempts=-1,
        **key,
    )
    consumer = await bus.jetstream().pull_subscribe_bind(consumer=NAME, stream="CALLS")
    print("ready", flush=True)
    while True:
        try:
            events = await consumer.fetch(100, timeout=5)
        except TimeoutError:
            continue  # nothing has happened
        for event in events:
            try:
                take(event)
            except Exception as why:
                print(f"refused: {why}", flush=True)
                await event.term()  # a dead letter: callbus consumer dead crm
            else:
                await event.ack()  # not acknowledged, it comes again after a while: also when this program dies here


asyncio.run(main())
