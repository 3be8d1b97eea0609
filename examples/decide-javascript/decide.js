// Decides calls for callbus: a rule with `ask: { nats: true }` brings its questions here, and the reply is SVAML.
import { connect } from '@nats-io/transport-node';

// Whom this office calls, and what calls elsewhere hear instead.
const COUNTRY = '+46';
const REFUSAL = 'We connect calls to Sweden only.';

function decide({ kind, facts }) {
  switch (kind) {
    case 'ice': { // a call comes in
      const dialled = facts.call.to?.endpoint ?? '';
      if (!dialled.startsWith(COUNTRY)) {
        return { instructions: [{ name: 'say', text: REFUSAL, locale: 'en-US' }], action: { name: 'hangup' } };
      }
      return { instructions: [], action: { name: 'connectPstn', number: dialled, maxDuration: 600 } };
    }
    case 'ace': // the called side has picked up
      return { instructions: [], action: { name: 'continue' } };
    default: // pie: a menu has ended, and we have none
      return { instructions: [], action: { name: 'hangup' } };
  }
}

// Without an answer from us callbus does what the rule's `on_error` says, so a broker that is away is waited for.
const nats = await connect({
  servers: process.env.NATS_URL ?? 'nats://127.0.0.1:4222',
  maxReconnectAttempts: -1,
});

// decide.v1.<kind>.<app>: every event of every app. Each question goes to one member of the queue group,
// whatever language it is written in: start as many as you need.
const questions = nats.subscribe('decide.v1.*.*', { queue: 'deciders' });
// Drained, the subscription takes no new question, what is here is still answered, and the loop below ends.
process.once('SIGTERM', () => nats.drain());
await nats.flush();
console.log('ready');

for await (const question of questions) {
  try {
    const asked = question.json();
    const answer = decide(asked);
    question.respond(JSON.stringify(answer));
    console.log(`${asked.kind} of ${asked.call}: ${answer.action.name}`);
  } catch (error) {
    // Our fault, so nothing is decided: an empty reply tells callbus at once, rather than when its patience ends.
    question.respond();
    console.error(error);
  }
}
