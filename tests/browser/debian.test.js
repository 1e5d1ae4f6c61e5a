// The Debian package, as packaging/deb/build.sh makes it, on a fresh machine with systemd: it is installed, a broadcast runs over kills of the
// service's process and over an upgrade, and nothing is left of it after a purge. In a network of its own (tests/clients/own-network.sh), since
// it has the ports that the package has.
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { Broadcast } from "./lib/broadcast.js";
import { Knocking } from "./lib/knocking.js";
import { InstalledServer, Machine } from "./lib/machine.js";
import { record } from "./lib/report.js";

const REPOSITORY = fileURLToPath(new URL("../../", import.meta.url));
const ROOT = process.env.REKINDLE_DEBIAN_ROOT ?? path.join(REPOSITORY, "target/deb/root");
const VERSION = /^version = "(.*)"$/m.exec(fs.readFileSync(path.join(REPOSITORY, "Cargo.toml"), "utf8"))[1];
const KILLS = 2;
const VIEWERS = process.env.CI ? ["chromium"] : ["chromium", "firefox"];
const SECRETS = ["/etc/rekindle/key.txt", "/etc/rekindle/publish-token"];

/** @type {Machine} */
let machine;
/** @type {InstalledServer} */
let server;
let packages;

/** Makes the package with this revision. */
function build(revision) {
  const made = spawnSync(path.join(REPOSITORY, "packaging/deb/build.sh"), ["--fast", "--deb-revision", revision, "--output", packages], { encoding: "utf8" });
  assert.equal(made.status, 0, made.stderr);
}

const install = (revision) => machine.runBeside("dpkg", "--install", `/packages/rekindle_${VERSION}-${revision}_${machine.run("dpkg", "--print-architecture")}.deb`);
const modes = (...files) => machine.run("stat", "--format", "%U %a", ...files).split("\n");

before(async () => {
  assert.ok(process.env.REKINDLE_OWN_NETWORK, "it needs a network of its own: tests/clients/own-network.sh node --test debian.test.js");
  // Firefox offers the address of a default route only; this one leads nowhere.
  execFileSync("ip", ["route", "add", "default", "via", "10.77.0.254", "dev", "eth0"]);
  packages = fs.mkdtempSync(path.join(os.tmpdir(), "rekindle-packages-"));
  build("1");
  build("2");
  machine = await Machine.boot(ROOT, packages);
  server = InstalledServer.on(machine);
});

after(async () => {
  await server?.close();
  await machine?.close();
  fs.rmSync(packages, { recursive: true, force: true });
});

test("what is installed serves at once, with secrets that root alone can read and a state folder of its own user", async () => {
  await install("1");
  await server.ready();
  assert.deepEqual(modes(...SECRETS), ["root 600", "root 600"]);
  assert.deepEqual(modes("/var/lib/rekindle", "/var/lib/rekindle/identity.age"), ["rekindle 700", "rekindle 600"]);
  assert.equal(machine.run("stat", "--format", "%U", `/proc/${server.property("MainPID")}`), "rekindle");
  for (const unit of ["rekindle.service", "rekindle.socket", "rekindle-media.socket"]) {
    assert.equal(machine.run("systemctl", "is-active", unit), "active");
    assert.equal(machine.run("systemctl", "is-enabled", unit), "enabled");
  }
  const exposure = machine.run("systemd-analyze", "security", "--no-pager", "rekindle.service").split("\n").at(-1);
  assert.ok(Number(/: ([0-9.]+)/.exec(exposure)[1]) < 2, exposure);
  // The ports are systemd's.
  assert.equal(machine.run("systemctl", "show", "--value", "--property", "Listen", "rekindle.socket", "rekindle-media.socket"), "127.0.0.1:8080 (Stream)\n\n0.0.0.0:8189 (Datagram)");
});

test("a broadcast goes on over kills of the process and over an upgrade, and no connection is refused", async () => {
  const token = machine.run("cat", "/etc/rekindle/publish-token");
  const key = machine.run("sha256sum", "/etc/rekindle/key.txt");
  const started = Number(server.property("NRestarts"));
  const broadcast = await Broadcast.join(server, { viewers: VIEWERS, publisherUrl: () => `${server.url}/?channel=test#publish-token=${token}` });
  const knocking = new Knocking(server.port);
  try {
    const before = await broadcast.identities();
    for (let kill = 1; kill <= KILLS; kill++) {
      const process = server.property("MainPID");
      await server.kill();
      await broadcast.survived(kill);
      assert.notEqual(server.property("MainPID"), process);
    }
    assert.equal(Number(server.property("NRestarts")) - started, KILLS);

    // What the administrator has changed stays.
    machine.run("sh", "-c", "echo 'publisher = \"replace\"' >>/etc/rekindle/rekindle.toml");
    const process = server.property("MainPID");
    await install("2");
    await broadcast.survived(KILLS + 1);
    await knocking.stop();
    assert.equal(machine.run("dpkg-query", "--show", "--showformat", "${Version} ${db:Status-Status}", "rekindle"), `${VERSION}-2 installed`);
    assert.notEqual(server.property("MainPID"), process);
    assert.match(machine.run("tail", "-1", "/etc/rekindle/rekindle.toml"), /replace/);
    assert.equal(machine.run("sha256sum", "/etc/rekindle/key.txt"), key);

    assert.deepEqual(await broadcast.identities(), before);
    assert.equal(knocking.refused, 0, `of ${knocking.made + knocking.refused} connections`);
    record("debian package: kills, upgrades, connections made meanwhile", { kills: KILLS, upgrades: 1, connections: knocking.made, refused: knocking.refused });
    broadcast.assertNoProblems();
  } catch (error) {
    throw new Error(await broadcast.story(error.message), { cause: error });
  } finally {
    await knocking.stop();
    await broadcast.browsers.close();
  }
});

test("a removal closes the ports and leaves key and state, and a purge takes them away and says so", async () => {
  machine.run("dpkg", "--remove", "rekindle");
  await assert.rejects(server.get("/healthz"));
  for (const file of [...SECRETS, "/var/lib/rekindle/identity.age", "/etc/rekindle/rekindle.toml"]) assert.ok(machine.has(file), file);
  await install("2");
  await server.ready();
  // The key opens what the first installation has left.
  assert.match(machine.run("rekindle", "audit", "/var/lib/rekindle", "--key-file", SECRETS[0]), /identity.age/);

  machine.run("dpkg", "--remove", "rekindle");
  machine.run("touch", "/etc/rekindle/of-the-administrator");
  assert.match(machine.run("dpkg", "--purge", "rekindle"), /removing the key file \/etc\/rekindle\/key.txt and the state/);
  for (const file of [...SECRETS, "/var/lib/rekindle", "/etc/rekindle/rekindle.toml", "/usr/bin/rekindle"]) assert.ok(!machine.has(file), file);
  assert.ok(machine.has("/etc/rekindle/of-the-administrator"));
  assert.equal(machine.try("systemctl", "list-unit-files", "rekindle*", "--no-legend").out, "", "no unit is left");
});
