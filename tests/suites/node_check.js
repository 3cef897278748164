// SPDX-License-Identifier: BSD-2-Clause
// node_check.js server | cluster | client PORT PORT ROUNDS: Node's http, net and streams; the client checks every answer and prints one JSON
// line. cluster: a server of two processes, to which the first, which accepts, passes its connections in turn.
'use strict';
const cluster = require('cluster');
const crypto = require('crypto');
const http = require('http');
const net = require('net');

const hash = (data) => crypto.createHash('sha256').update(data).digest('hex');
// The same bytes for the same seed.
function bytes(seed, size) {
  const out = Buffer.alloc(size);
  for (let at = 0, n = 0; at < size; at += 32, n++) crypto.createHash('sha256').update(`${seed}:${n}`).digest().copy(out, at);
  return out;
}

function server() {
  const web = http.createServer((request, response) => {
    const [, verb, size] = request.url.split('/');
    if (verb === 'get') return void response.end(bytes(size, Number(size)));
    if (verb === 'drop') return void request.socket.destroy();
    const sum = crypto.createHash('sha256');
    request.on('data', (data) => sum.update(data)).on('end', () => response.end(sum.digest('hex')));
  });
  web.keepAliveTimeout = 30000;
  // A raw server that echoes with back-pressure and half-close.
  const echo = net.createServer({ allowHalfOpen: true }, (socket) => socket.pipe(socket));
  web.listen(0, '127.0.0.1', () => echo.listen(0, '127.0.0.1', () => console.log(`ports ${web.address().port} ${echo.address().port}`)));
  process.on('SIGTERM', () => process.exit(0));
}

function several() {
  if (!cluster.isPrimary) return server();
  cluster.schedulingPolicy = cluster.SCHED_RR;
  for (let i = 0; i < 2; i++) cluster.fork();
  process.on('SIGTERM', () => {
    for (const worker of Object.values(cluster.workers)) worker.process.kill('SIGKILL');
    process.exit(0);
  });
}

function ask(agent, port, path, body) {
  return new Promise((resolve) => {
    const request = http.request({ agent, port, host: '127.0.0.1', path, method: body ? 'POST' : 'GET' }, (response) => {
      const parts = [];
      response.on('data', (part) => parts.push(part)).on('end', () => resolve(Buffer.concat(parts)));
    });
    request.on('error', (error) => resolve(error.code));
    request.end(body);
  });
}

function echo(port, data) {
  return new Promise((resolve, reject) => {
    const parts = [];
    const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true }, () => socket.end(data));
    socket.on('data', (part) => {
      parts.push(part);
      if (parts.length % 7 === 0) { // a reader that stops now and then
        socket.pause();
        setTimeout(() => socket.resume(), 1);
      }
    }).on('end', () => resolve(Buffer.concat(parts))).on('error', reject);
  });
}

async function client(web, raw, rounds) {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 5 });
  const sizes = [1, 100, 1460, 16384, 65536, 100003, 1000000];
  let answers = 0, total = 0;
  for (let round = 0; round < rounds; round++) {
    await Promise.all(sizes.map(async (size) => {
      const wanted = bytes(size, size);
      const got = await ask(agent, web, `/get/${size}`);
      if (!wanted.equals(got)) throw new Error(`get ${size}: ${got.length}`);
      const sum = await ask(agent, web, '/sum', wanted);
      if (String(sum) !== hash(wanted)) throw new Error(`post ${size}: ${sum}`);
      const back = await echo(raw, wanted);
      if (!wanted.equals(back)) throw new Error(`echo ${size}: ${back.length}`);
      answers += 3;
      total += 4 * size;
    }));
  }
  const dropped = await ask(agent, web, '/drop');
  agent.destroy();
  console.log(JSON.stringify({ answers, total, dropped }));
}

const [verb, web, raw, rounds] = process.argv.slice(2);
if (verb === 'server') server();
else if (verb === 'cluster') several();
else client(Number(web), Number(raw), Number(rounds)).catch((error) => { console.error(error); process.exit(1); });
