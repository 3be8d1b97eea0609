// A callback server for Sinch voice calls, in one file: it checks Sinch's signature and answers with SVAML.
// It knows nothing of callbus, which can stand in front of it as it is.
import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import express from 'express';

const { PORT = '3000', HOST = '127.0.0.1', APP_KEY, APP_SECRET } = process.env;
if (!APP_KEY || !APP_SECRET) throw new Error('set APP_KEY and APP_SECRET: both are in the Sinch dashboard');

const NUMBERS = new Map([['sales', '+46701234567'], ['support', '+46707654321']]);
const AGE_MAX_MS = 5 * 60 * 1000;

const say = (text) => ({ name: 'say', text, locale: 'en-US' });
const menu = {
  id: 'main',
  mainPrompt: '#tts[Press 1 for sales or 2 for support.]',
  options: [{ dtmf: '1', action: 'return(sales)' }, { dtmf: '2', action: 'return(support)' }],
};

function answer(callback) {
  switch (callback.event) {
    case 'ice': // a call comes in
      return { instructions: [say('Welcome to Acme.')], action: { name: 'runMenu', mainMenu: 'main', menus: [menu] } };
    case 'pie': { // the menu has ended, with a choice or without
      const number = NUMBERS.get(callback.menuResult?.value);
      if (!number) return { instructions: [say('Goodbye.')], action: { name: 'hangup' } };
      return { instructions: [say('Connecting you.')], action: { name: 'connectPstn', number } };
    }
    case 'ace': // sales or support has picked up
      return { instructions: [], action: { name: 'continue' } };
    default: // dice, notify and what Sinch may add: there is nothing to answer
      return {};
  }
}

// Sinch signs the bytes it sends, so they are checked before anybody parses them.
function isSigned(request) {
  const timestamp = request.get('x-timestamp') ?? '';
  const md5 = createHash('md5').update(request.body).digest('base64');
  const path = request.originalUrl.split('?')[0];
  const signed = ['POST', md5, request.get('content-type') ?? '', `x-timestamp:${timestamp}`, path].join('\n');
  const signature = createHmac('sha256', Buffer.from(APP_SECRET, 'base64')).update(signed).digest('base64');
  const expected = Buffer.from(`application ${APP_KEY}:${signature}`);
  const given = Buffer.from((request.get('authorization') ?? '').replace(/^application/i, 'application'));
  const recent = Math.abs(Date.now() - Date.parse(timestamp)) < AGE_MAX_MS;
  return recent && given.length === expected.length && timingSafeEqual(given, expected);
}

const app = express();
app.post('/callbacks', express.raw({ type: () => true, limit: '256kb' }), (request, response) => {
  if (!Buffer.isBuffer(request.body) || !isSigned(request)) return response.sendStatus(401);
  const callback = JSON.parse(request.body);
  console.log(`${callback.event} of ${callback.callid}`);
  response.json(answer(callback));
});
const server = app.listen(Number(PORT), HOST);
server.once('listening', () => console.log(`http://${HOST}:${PORT}/callbacks is ready`));
process.once('SIGTERM', () => server.close());
