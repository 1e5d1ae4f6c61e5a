// The units of packaging/systemd without a package: what its README has an administrator type, on a fresh machine with systemd, as it stands there. In
// a network of its own (tests/clients/own-network.sh), since it has the ports that the units have. Needs root, and packaging/deb/root.sh.
import assert from "node:assert/strict";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { InstalledServer, Machine } from "./lib/machine.js";
import { until } from "./lib/pages.js";
import { BINARY } from "./lib/server.js";

const REPOSITORY = fileURLToPath(new URL("../../", import.meta.url));
const ROOT = process.env.REKINDLE_DEBIAN_ROOT ?? path.join(REPOSITORY, "target/deb/root");
const README = fs.readFileSync(path.join(REPOSITORY, "packaging/systemd/README.md"), "utf8");
const OFFER = path.join(REPOSITORY, "crates/sdp/src/testdata/chromium-156-publish.sdp");
const LINEAGE = "/etc/letsencrypt/live/media.example.org";

/** The block of the README that begins so. */
function block(start) {
  const found = [...README.matchAll(/^```\w+\n([^]*?)^```$/gm)].map(([, inside]) => inside).filter((inside) => inside.startsWith(start));
  assert.equal(found.length, 1, start);
  return found[0];
}

/** @type {Machine} */
let machine;
/** @type {InstalledServer} */
let server;
let source;

before(async () => {
  assert.ok(process.env.REKINDLE_OWN_NETWORK, "it needs a network of its own: tests/clients/own-network.sh node --test systemd.test.js");
  // What the machine sees of the repository: the program and the units.
  source = fs.mkdtempSync(path.join(os.tmpdir(), "rekindle-units-"));
  fs.mkdirSync(path.join(source, "target/release"), { recursive: true });
  fs.copyFileSync(BINARY, path.join(source, "target/release/rekindle"));
  fs.cpSync(path.join(REPOSITORY, "packaging/systemd"), path.join(source, "packaging/systemd"), { recursive: true });
  machine = await Machine.boot(ROOT, source);
  server = InstalledServer.on(machine);
});

after(async () => {
  await server?.close();
  await machine?.close();
  fs.rmSync(source, { recursive: true, force: true });
});

/** As an administrator types it, in the repository. */
function type(line) {
  const { code, out, err } = machine.try("bash", "--norc", "-euo", "pipefail", "-c", `cd /packages\n${line}`);
  assert.equal(code, 0, `${line}: ${out} ${err} ${machine.try("journalctl", "--no-pager", "--lines", "20").out}`);
}
/** `systemctl edit UNIT` with these contents. */
const edit = (unit, contents) => machine.run("sh", "-c", `mkdir -p /etc/systemd/system/${unit}.d && printf '%s' "$1" >/etc/systemd/system/${unit}.d/override.conf && systemctl daemon-reload`, "sh", contents);
const health = async () => JSON.parse((await server.get("/healthz")).text);

test("the commands of the README leave a service that serves behind its sockets, and comes back after kill -9", { timeout: 60_000 }, async () => {
  const lines = block("# install -m 755").trim().split("\n");
  assert.equal(lines.length, 4);
  for (const line of lines) type(/^# (.*)$/.exec(line)[1]);
  await server.ready();
  const token = machine.run("cat", "/etc/rekindle/publish-token");
  const answer = await fetch(`${server.url}/whip/main`, { method: "POST", headers: { "content-type": "application/sdp", authorization: `Bearer ${token}` }, body: fs.readFileSync(OFFER) });
  assert.equal(answer.status, 201);
  assert.match(await answer.text(), /udp 2130706431 203\.0\.113\.7 8189 typ host/);
  const { process: before } = await health();
  await server.kill();
  await until(async () => (await health()).process !== before, "another process answers");
  await until(async () => (await health()).peers.awaited === 1, "the publisher is awaited");
});

test("media over TCP, the admin listener, a reload and an upgrade are what the README says beside", { timeout: 60_000 }, async () => {
  const said = (line) => {
    assert.ok(README.replaceAll("\n", " ").includes(`\`${line}\``), line);
    return type(line);
  };
  machine.run("sh", "-c", "echo REKINDLE_ADMIN=9189 >>/etc/rekindle/environment");
  assert.ok(README.includes("`SocketBindAllow=tcp:9189`"));
  edit("rekindle.service", "[Service]\nSocketBindAllow=tcp:9189\n");
  said("systemctl enable rekindle-ice-tcp.socket");
  said("systemctl stop rekindle.socket rekindle-media.socket rekindle && systemctl start rekindle-ice-tcp.socket rekindle");
  await server.ready();
  const channels = await (await fetch("http://127.0.0.1:9189/api/channels")).json();
  assert.deepEqual(channels.channels.map(({ name }) => name), ["main"], "the operators' listener");
  const token = machine.run("cat", "/etc/rekindle/publish-token");
  const join = () => fetch(`${server.url}/whip/other`, { method: "POST", headers: { "content-type": "application/sdp", authorization: `Bearer ${token}` }, body: fs.readFileSync(OFFER) });
  assert.match(await (await join()).text(), / tcp \d+ 203\.0\.113\.7 8189 typ host/);
  const { process: before } = await health();
  said("systemctl reload rekindle");
  assert.equal((await health()).process, before);
  said("systemctl kill --kill-whom=main rekindle");
  await until(async () => (await health()).process !== before, "the new program");
});

test("HTTPS is two additions to the units", { timeout: 60_000 }, async () => {
  machine.run("mkdir", "-p", LINEAGE);
  machine.run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=media.example.org", "-keyout", `${LINEAGE}/privkey.pem`, "-out", `${LINEAGE}/fullchain.pem`);
  edit("rekindle.socket", block("[Socket]"));
  edit("rekindle.service", block("[Service]\nLoadCredential"));
  machine.run("systemctl", "restart", "rekindle.socket", "rekindle-media.socket", "rekindle");
  server.tls = true;
  server.port = 443;
  await server.ready();
  await until(async () => (await health()).peers.awaited === 2, "the same server, with its state");
});
