// A WebSocket server on `ws`: a text message "N payload" to /pub goes, as the payload alone, to all on /sub?channel=N;
// /echo answers each message with itself. Usage: node ws.js PORT
'use strict';

const http = require('node:http');
const { WebSocket, WebSocketServer } = require('ws');

/** Who listens, by channel. @type {Map<string, Set<WebSocket>>} */
const channels = new Map();

function subscribe(socket, channel) {
  let listeners = channels.get(channel);
  if (listeners === undefined) channels.set(channel, (listeners = new Set()));
  listeners.add(socket);
  socket.on('close', () => listeners.delete(socket));
}

function publish(message) {
  const space = message.indexOf(0x20);
  const listeners = channels.get(message.toString('latin1', 0, space));
  if (listeners === undefined) return;
  const payload = message.subarray(space + 1);
  for (const listener of listeners) {
    if (listener.readyState === WebSocket.OPEN) listener.send(payload, { binary: false });
  }
}

const server = http.createServer((request, response) => {
  response.writeHead(request.url === '/healthz' ? 200 : 404).end();
});

const sockets = new WebSocketServer({ server, perMessageDeflate: false });
sockets.on('connection', (socket, request) => {
  socket.on('error', () => socket.terminate());
  const url = new URL(request.url, 'http://localhost');
  switch (url.pathname) {
    case '/sub':
      return subscribe(socket, url.searchParams.get('channel'));
    case '/pub':
      return socket.on('message', publish);
    case '/echo':
      return socket.on('message', (message, binary) => socket.send(message, { binary }));
    default:
      return socket.close(1008, 'no such path');
  }
});

server.listen({ host: '127.0.0.1', port: Number(process.argv[2]), backlog: 16384 });
