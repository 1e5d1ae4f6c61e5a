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
const type = (line) => machine.run("bash", "-euo", "pipefail", "-c", `cd /packages\n${line}`);
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
  assert.equal((await health()).peers.awaited, 1, "the publisher is awaited");
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
  assert.equal((await health()).peers.awaited, 1, "the same server, with its state");
});
