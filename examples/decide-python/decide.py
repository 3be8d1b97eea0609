"""Decides calls for callbus: a rule with `ask: { nats: true }` brings its questions here, and the reply is SVAML."""

import asyncio
import json
import logging
import os
import signal

import nats

# Whom this office calls, and what calls elsewhere hear instead.
COUNTRY = "+46"
REFUSAL = "We connect calls to Sweden only."


def decide(kind, facts):
    if kind == "ice":  # a call comes in
        dialled = facts["call"].get("to", {}).get("endpoint", "")
        if dialled.startswith(COUNTRY):
            return svaml({"name": "connectPstn", "number": dialled, "maxDuration": 600})
        return svaml({"name": "hangup"}, {"name": "say", "text": REFUSAL, "locale": "en-US"})
    if kind == "ace":  # the called side has picked up
        return svaml({"name": "continue"})
    return svaml({"name": "hangup"})  # pie: a menu has ended, and we have none


def svaml(action, *instructions):
    return {"instructions": instructions, "action": action}


async def reply(question):
    try:
        asked = json.loads(question.data)
        answer = decide(asked["kind"], asked["facts"])
        await question.respond(json.dumps(answer).encode())
        print(f"{asked['kind']} of {asked['call']}: {answer['action']['name']}", flush=True)
    except Exception:
        # Our fault, so nothing is decided: an empty reply tells callbus at once, rather than when its patience ends.
        logging.exception("not decided")
        await question.respond(b"")


async def main():
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    # Without an answer from us callbus does what the rule's `on_error` says, so a broker that is away is waited for.
    bus = await nats.connect(os.environ.get("NATS_URL", "nats://127.0.0.1:4222"), max_reconnect_attempts=-1)
    # decide.v1.<kind>.<app>: every event of every app. Each question goes to one member of the queue group,
    # whatever language it is written in: start as many as you need.
    await bus.subscribe("decide.v1.*.*", queue="deciders", cb=reply)
    await bus.flush()
    print("ready", flush=True)
    await stop.wait()
    await bus.drain()  # no new question; what is here is still answered


asyncio.run(main())
