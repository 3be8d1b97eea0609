// Hears of every call that ended, from a consumer of its own:
//
//   callbus consumer add crm --kinds settled --from beginning --keys keys
//   NKEY_FILE=keys/consumers/crm/nkey node subscribe.js

import { readFileSync } from "node:fs";
import { jetstream } from "@nats-io/jetstream";
import { connect, nkeyAuthenticator } from "@nats-io/transport-node";

const name = process.env.CONSUMER ?? "crm";
const key = process.env.NKEY_FILE;

const bus = await connect({
  servers: process.env.NATS_URL ?? "nats://127.0.0.1:4222",
  inboxPrefix: `_INBOX_${name}`,
  maxReconnectAttempts: -1,
  authenticator: key ? nkeyAuthenticator(new TextEncoder().encode(readFileSync(key, "utf8").trim())) : undefined,
});
const consumer = await jetstream(bus).consumers.get("CALLS", name);
const events = await consumer.consume();
console.log("ready");
for await (const event of events) {
  try {
    take(event);
    event.ack(); // not acknowledged, it comes again after a while: also when this program dies here
  } catch (why) {
    console.log(`refused: ${why}`);
    event.term(); // a dead letter: callbus consumer dead crm
  }
}

// An event is a CloudEvent: who it is stands in the headers, what happened in the body. It may come twice, so whatever is
// done with it is done once per ce-id.
function take(event) {
  const call = event.json();
  console.log(`${event.headers.get("ce-type")} of ${event.headers.get("ce-subject")}: ${JSON.stringify(call.result)}`);
}
