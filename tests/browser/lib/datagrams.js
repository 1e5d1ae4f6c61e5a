// Run in a network of its own: which datagrams reach the media port of `rekindle demo`, and which the kernel drops. Prints one line of JSON.
import dgram from "node:dgram";
import fs from "node:fs";
import { until } from "./pages.js";
import { Server } from "./server.js";

/** Two addresses stand for two machines: a datagram from one to the other is as one from elsewhere. */
const PAIRS = [
  ["127.0.0.1", "127.0.0.1"],
  ["192.0.2.1", "192.0.2.1"],
  ["192.0.2.1", "127.0.0.1"],
  ["192.0.2.1", "192.0.2.2"],
  ["192.0.2.2", "192.0.2.1"],
];

/** The kernel's table of UDP sockets: the one that is bound to all addresses, and how many datagrams it was spared (proc(5)). */
function media() {
  const rows = fs.readFileSync("/proc/net/udp", "utf8").split("\n").slice(1).map((line) => line.trim().split(/\s+/));
  const row = rows.find(([, local]) => local?.startsWith("00000000:"));
  return row && { port: parseInt(row[1].split(":")[1], 16), dropped: Number(row.at(-1)) };
}

/** Whether a datagram gets through. */
async function passes(from, to) {
  const { port, dropped } = media();
  const socket = dgram.createSocket("udp4");
  await new Promise((resolve) => socket.bind(0, from, () => resolve(null)));
  await new Promise((resolve) => socket.send("nothing that is answered", port, to, resolve));
  socket.close();
  return media().dropped === dropped;
}

const server = await Server.make({ demo: true });
try {
  await server.start();
  await until(() => media() !== undefined, "the media port is there");
  const told = [];
  for (const [from, to] of PAIRS) told.push([from, to, await passes(from, to)]);
  console.log(JSON.stringify(told));
} finally {
  await server.close();
}
