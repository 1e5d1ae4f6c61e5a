// An address that VRRP (RFC 5798) moves: keepalived on two hosts, and where the address is, there runs the server, under the same node's name. A long form, where
// keepalived is installed: `apt install keepalived`.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { Broadcast } from "./lib/broadcast.js";
import { Cluster, clusterIsMissing } from "./lib/cluster.js";
import { connect, hostsAreMissing, runAmong } from "./lib/hosts.js";
import { until } from "./lib/pages.js";
import { record } from "./lib/report.js";
import { Server, clock, sleep } from "./lib/server.js";

/** The address that moves; no host has it for itself. */
const ADDRESS = "10.77.0.100";
const LIMIT_MS = Number(process.env.REKINDLE_FRAME_LIMIT ?? 8000);

/** keepalived on a host. It makes an empty file when the host has the address. */
class Keepalived {
  constructor(dir, name, { words: [program, ...words] }, priority) {
    this.told = path.join(dir, `${name}-has-it`);
    const [script, config] = [path.join(dir, `${name}.sh`), path.join(dir, `${name}.conf`)];
    fs.writeFileSync(script, `#!/bin/sh\ntouch '${this.told}'\n`, { mode: 0o755 });
    // Ten times a second, so that three that are missed are a third of a second.
    const instance = ["state BACKUP", "interface eth0", "virtual_router_id 51", `priority ${priority}`, "advert_int 0.1", `virtual_ipaddress { ${ADDRESS}/24 dev eth0 }`, `notify_master ${script}`];
    const global = ["vrrp_version 3", "script_user root", "enable_script_security"];
    fs.writeFileSync(config, `global_defs {\n${global.join("\n")}\n}\nvrrp_instance rekindle {\n${instance.join("\n")}\n}\n`, { mode: 0o600 });
    const log = fs.openSync(path.join(dir, `${name}.log`), "a");
    const files = ["--use-file", config, "--pid", path.join(dir, `${name}.pid`), "--vrrp_pid", path.join(dir, `${name}-vrrp.pid`)];
    this.process = spawn(program, [...words, "keepalived", "--dont-fork", "--log-console", "--vrrp", ...files], { stdio: ["ignore", log, log] });
    fs.closeSync(log);
    this.exited = new Promise((resolve) => this.process.once("exit", resolve));
  }

  /** Whether its host has got the address. */
  has() {
    return fs.existsSync(this.told);
  }

  async close() {
    if (this.process.exitCode === null) this.process.kill("SIGTERM");
    await this.exited;
  }
}

async function moves(publisher) {
  const hosts = JSON.parse(process.env.REKINDLE_HOSTS);
  const dir = fs.mkdtempSync("/tmp/rekindle-vrrp-");
  const keepers = [new Keepalived(dir, "first", hosts.first, 200), new Keepalived(dir, "spare", hosts.spare, 100)];
  const [first, second] = keepers;
  let cluster, broadcast;
  try {
    await until(() => first.has(), () => fs.readFileSync(path.join(dir, "first.log"), "utf8"));
    cluster = await Cluster.open({ nodes: 2, hosts: [{ ...hosts.first, address: ADDRESS }, hosts.other], store: hosts.store });
    const [node] = cluster.nodes;
    broadcast = await Broadcast.join(node, { publisher, viewers: ["chromium", "firefox"], launch: () => ({ trusted: node.url }) });
    const before = await broadcast.identities();
    const spare = await Server.make({ host: ADDRESS, udpHost: ADDRESS, words: hosts.spare.words });
    Object.assign(spare, { port: node.port, udpPort: node.udpPort, args: node.args });
    fs.rmSync(second.told, { force: true });
    const since = clock();
    connect(hosts.first, false);
    await until(() => second.has(), () => fs.readFileSync(path.join(dir, "spare.log"), "utf8"), 10_000, 5);
    const movedAt = clock();
    spare.spawn();
    cluster.nodes[0] = spare;
    const frames = await broadcast.firstFrames(since, LIMIT_MS);
    if (!frames.every((ms) => ms !== null)) assert.fail(await broadcast.story(`first frames after ${frames} ms`));
    await broadcast.survived(1);
    assert.deepEqual(await broadcast.identities(), before, "connections, tracks and joins");
    await until(async () => (await cluster.where(2)) === 0, "all are at the same node");
    broadcast.server = spare;
    await node.close();
    broadcast.assertNoProblems();
    record(`address moved by VRRP, publisher ${publisher}`, { address_moved_ms: Math.round(movedAt - since), first_frame_ms: frames });
    await sleep(500);
  } finally {
    await broadcast?.close();
    await cluster?.close();
    for (const keeper of keepers) await keeper.close();
    if (!process.env.REKINDLE_KEEP) fs.rmSync(dir, { recursive: true, force: true });
  }
}

if (process.env.REKINDLE_HOSTS) {
  test("the address goes to another host, and nobody joins anew", { timeout: 120_000 }, () => moves(process.env.REKINDLE_PUBLISHERS));
} else {
  const noKeepalived = spawnSync("keepalived", ["--version"]).error ? "there is no keepalived" : null;
  const missing = hostsAreMissing() ?? clusterIsMissing() ?? noKeepalived;
  for (const publisher of ["chromium", "firefox"]) {
    test(`VRRP moves the server's address, published by ${publisher}`, { skip: missing ?? false, timeout: 150_000 }, async () => {
      const others = ["first", "spare", "other", "store"];
      assert.equal(await runAmong(others, fileURLToPath(import.meta.url), { REKINDLE_PUBLISHERS: publisher }), 0);
    });
  }
}
