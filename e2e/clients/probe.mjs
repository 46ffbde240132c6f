// probe.mjs is an MCP server over standard input and output that tries to get out: its
// tools say what came of it.
import dgram from "node:dgram";
import net from "node:net";
import readline from "node:readline";

const said = (e) => (e ? `${e.code}` : "arrived");
const tools = {
  tcp: ({ port }) => new Promise((done) => net.connect(port, "127.0.0.1", () => done(said())).on("error", (e) => done(said(e)))),
  udp: ({ port }) =>
    new Promise((done) => {
      const s = dgram.createSocket("udp4").on("error", (e) => done(said(e)));
      s.send("x", port, "127.0.0.1", (e) => done(said(e)));
    }),
  unix: ({ path }) => new Promise((done) => net.connect(path, () => done(said())).on("error", (e) => done(said(e)))),
  environment: () => JSON.stringify(process.env),
};

const properties = { port: { type: "integer" }, path: { type: "string" } };
const methods = {
  initialize: () => ({ protocolVersion: "2025-11-25", capabilities: { tools: {} }, serverInfo: { name: "probe", version: "1" } }),
  "tools/list": () => ({ tools: Object.keys(tools).map((name) => ({ name, description: name, inputSchema: { type: "object", properties } })) }),
  "tools/call": async ({ name, arguments: args }) => ({ content: [{ type: "text", text: await tools[name](args) }] }),
  ping: () => ({}),
};

for await (const line of readline.createInterface({ input: process.stdin })) {
  const { id, method, params } = JSON.parse(line);
  if (id === undefined) continue;
  const answer = methods[method] ? { result: await methods[method](params) } : { error: { code: -32601, message: "no such method" } };
  console.log(JSON.stringify({ jsonrpc: "2.0", id, ...answer }));
}
