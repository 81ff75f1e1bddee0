// Official clients in one process: commanded by JSON lines on standard input, journal on standard output.
//
// In:  {"id": 1, "do": "NAME OF A COMMAND", "client": "...", ...}: see `commands` below.
// Out: {"reply": 1, "result": ...} or {"reply": 1, "error": "..."} for each command, and for all that
//      happens to a client {"client": "...", "at": ms, "kind": "...", ...}.
import { createInterface } from "node:readline";
import { io } from "socket.io-client";

const sockets = new Map();

const write = (line) => process.stdout.write(JSON.stringify(line) + "\n");

function open({ client, url, options, remember }) {
  const note = (kind, more) => write({ client, at: Date.now(), kind, ...more });
  // A manager each: clients of one process must not share a connection.
  const socket = io(url, { forceNew: true, multiplex: false, ...options });
  sockets.set(client, socket);
  socket.on("connect", () =>
    note("connect", {
      recovered: socket.recovered === true,
      sid: socket.id,
      transport: socket.io.engine.transport.name,
    }),
  );
  socket.on("disconnect", (reason) => note("disconnect", { reason }));
  socket.on("connect_error", (error) => note("connect_error", { reason: error.message, data: error.data }));
  // As the guide's page does: whoever comes back without a recovery resumes the session.
  if (remember) socket.on("session", ({ sessionID }) => (socket.auth = { sessionID }));
  socket.onAny((name, ...args) => note("event", { name, args }));
  const watch = () => {
    const engine = socket.io.engine;
    engine.on("upgrade", (transport) => note("upgrade", { transport: transport.name }));
    engine.on("close", (reason, details) =>
      note("close", { reason, code: details?.context?.code ?? details?.code, status: details?.context?.status }),
    );
  };
  socket.io.on("open", watch);
}

function find(client) {
  const socket = sockets.get(client);
  if (socket === undefined) throw new Error(`no client ${client}`);
  return socket;
}

const commands = {
  open,
  emit({ client, event, args }) {
    find(client).emit(event, ...args);
  },
  async call({ client, event, args, timeout }) {
    return await find(client).timeout(timeout).emitWithAck(event, ...args);
  },
  // Below the client's own checks, which would refuse a reserved name.
  raw_event({ client, event, args }) {
    find(client).packet({ type: 2, data: [event, ...args], options: { compress: false } });
  },
  async call_binary({ client, event, to }) {
    const content = Buffer.from([0, 1, 255]);
    return await find(client).timeout(5000).emitWithAck(event, { content, to });
  },
  close({ client }) {
    find(client).disconnect();
  },
  open_again({ client, auth }) {
    const socket = find(client);
    if (auth !== undefined) socket.auth = auth;
    socket.connect();
  },
  // The connection is lost without a word of farewell, as when a network goes away.
  drop({ client }) {
    const transport = find(client).io.engine.transport;
    if (transport.name === "websocket" && transport.ws.terminate) transport.ws.terminate();
    else find(client).io.engine.close();
  },
  state({ client }) {
    const socket = find(client);
    return {
      connected: socket.connected,
      recovered: socket.recovered === true,
      sid: socket.id ?? null,
      engine: socket.io.engine?.id ?? null,
      transport: socket.io.engine?.transport?.name ?? null,
      pid: socket._pid ?? null,
      offset: socket._lastOffset ?? null,
    };
  },
};

createInterface({ input: process.stdin, crlfDelay: Infinity })
  .on("line", async (line) => {
    const command = JSON.parse(line);
    try {
      write({ reply: command.id, result: (await commands[command.do](command)) ?? null });
    } catch (error) {
      write({ reply: command.id, error: String(error?.message ?? error) });
    }
  })
  .on("close", () => process.exit(0));
