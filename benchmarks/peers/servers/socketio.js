// A Socket.IO server: "sub" (channel) enters a room and is acknowledged, "pub" (channel, payload) is emitted as "m"
// (payload) to the room, "echo" (payload) is acknowledged with the payload. Usage: node socketio.js PORT
'use strict';

const http = require('node:http');
const { Server } = require('socket.io');

const server = http.createServer((request, response) => {
  response.writeHead(request.url === '/healthz' ? 200 : 404).end();
});

const io = new Server(server, { transports: ['websocket'], serveClient: false });

// The first HTTP request of a connection is kept for session middleware only; nothing here needs it.
io.engine.on('connection', (rawSocket) => {
  rawSocket.request = null;
});

io.on('connection', (socket) => {
  socket.on('sub', (channel, acknowledge) => {
    socket.join(String(channel));
    if (typeof acknowledge === 'function') acknowledge();
  });
  socket.on('pub', (channel, payload) => {
    io.to(String(channel)).emit('m', payload);
  });
  socket.on('echo', (payload, acknowledge) => {
    if (typeof acknowledge === 'function') acknowledge(payload);
  });
});

server.listen({ host: '127.0.0.1', port: Number(process.argv[2]), backlog: 16384 });
