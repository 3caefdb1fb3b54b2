// A WebSocket server on Bun's native pub/sub: a text message "N payload" to /pub goes, as the payload alone, to all on
// /sub?channel=N; /echo answers each message with itself. Usage: bun bun.js PORT

const server = Bun.serve({
  hostname: '127.0.0.1',
  port: Number(process.argv[2]),
  development: false,
  fetch(request) {
    const url = new URL(request.url);
    if (url.pathname === '/healthz') return new Response();
    const data = { path: url.pathname, channel: url.searchParams.get('channel') };
    if (server.upgrade(request, { data })) return undefined;
    return new Response(null, { status: 404 });
  },
  websocket: {
    perMessageDeflate: false,
    open(socket) {
      if (socket.data.path === '/sub') socket.subscribe(socket.data.channel);
    },
    message(socket, message) {
      if (socket.data.path === '/echo') {
        socket.send(message);
      } else if (socket.data.path === '/pub') {
        const space = message.indexOf(' ');
        server.publish(message.slice(0, space), message.slice(space + 1));
      }
    },
  },
});
