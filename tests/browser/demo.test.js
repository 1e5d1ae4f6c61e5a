// `rekindle demo`: the button of its page kills the server, the same connection goes on, and the page says what was seen of it. In browsers as
// people have them: Firefox offers no loopback candidate.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import { createRequire } from "node:module";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { Broadcast } from "./lib/broadcast.js";
import { Browsers, Tab, until } from "./lib/pages.js";
import { record } from "./lib/report.js";
import { Server, sleep } from "./lib/server.js";

const AXE = fs.readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

const says = (tab, id, pattern) => until(async () => pattern.test(await tab.fact(id)), async () => tab.describe(`${id} ${pattern}, and not ${await tab.fact(id)}`), 15_000);

/** What axe finds at 320 px, where nothing may be wider than the window either. */
async function check(tab, state) {
  await tab.web.bringToFront();
  if (!(await tab.run(() => "axe" in window))) await tab.web.evaluate(AXE);
  const violations = await tab.run(async () => {
    const found = await window.axe.run("#demo", { resultTypes: ["violations"] });
    return found.violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html, any }) => `${html.slice(0, 120)} ${any[0]?.message ?? ""}`).join(" | ")}`);
  });
  assert.deepEqual(violations, [], state);
  const wider = await tab.run(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(wider <= 0, `${state}: ${wider} px wider than the window`);
}

for (const [name, dark] of /** @type {const} */ ([["chromium", false], ["firefox", true]])) {
  test(`the button kills the server, and the picture goes on (${name})`, { timeout: 60_000 }, async () => {
    const broadcast = await Broadcast.open({ publisher: name, viewers: [name], server: { demo: true }, launch: () => ({ dark, loopback: false }) });
    try {
      const { publisher, server } = broadcast;
      const [viewer] = broadcast.viewers;
      await viewer.web.size(320, 640);
      assert.equal(await viewer.fact("kills"), "0 kills survived");
      await check(viewer, "before");
      const before = await broadcast.identities();
      const process = async () => JSON.parse((await server.get("/healthz")).text).process;
      const first = await process();

      // By the keyboard: a button is pressed by Enter.
      await viewer.web.bringToFront();
      await viewer.run(() => document.getElementById("kill").focus());
      await viewer.web.press("Enter");
      await says(viewer, "killed", /^Killed\. Back after \d+\.\d+ s; the picture stood still for \d+ ms\.$/);
      assert.equal(await viewer.fact("kills"), "1 kill survived");
      await says(publisher, "killed", /^Killed\. Back after \d+\.\d+ s\. What viewers saw/);
      assert.notEqual(await process(), first);
      assert.equal(await viewer.run(() => document.activeElement.id), "kill");
      await check(viewer, "after");

      await publisher.web.bringToFront();
      await publisher.click("kill");
      await says(viewer, "kills", /^2 kills survived$/);
      await broadcast.survived(2);
      await says(viewer, "killed", /stood still for/);
      record(`demo, ${name}`, { said: await viewer.fact("killed") });
      assert.ok((await viewer.nextFrame(5000)) !== null, "the picture goes on");
      // Each press has killed one server: a browser that sends a request twice would kill two.
      await sleep(500);
      assert.equal(await viewer.fact("kills"), "2 kills survived");
      assert.deepEqual(await broadcast.identities(), before);
      broadcast.assertNoProblems();
    } finally {
      await broadcast.close();
    }
  });
}

test("where nobody publishes the button says so, and an ordinary server has none", { timeout: 60_000 }, async () => {
  const browsers = new Browsers();
  const demo = await Server.make({ demo: true });
  const ordinary = await Server.make();
  try {
    await demo.start();
    await ordinary.start();
    const browser = await browsers.get("chromium");
    const tab = Object.assign(await Tab.open(browser, demo.url), { role: "viewer" });
    await tab.words("Waiting for a publisher");
    await tab.click("kill");
    await says(tab, "killed", /^Killed, and the next process is there\. Publish in one tab|^Killed\. Back after/);
    const other = Object.assign(await Tab.open(browser, ordinary.url), { role: "viewer" });
    await other.words("Waiting for a publisher");
    assert.equal(await other.run(() => document.getElementById("demo").hidden), true);
  } finally {
    await browsers.close();
    await demo.close();
    await ordinary.close();
  }
});

const NETWORK = "ip link set lo up && ip addr add 192.0.2.1/32 dev lo && ip addr add 192.0.2.2/32 dev lo";
const own = (command) => spawnSync("unshare", ["--map-root-user", "--net", "sh", "-c", `${NETWORK} && ${command}`], { encoding: "utf8" });
const none = own("true").status === 0 ? false : "it needs iproute2, and the right to have a network of its own";

test("media that is not of this machine is dropped by the kernel", { timeout: 60_000, skip: none }, () => {
  const { stdout, stderr } = own(`"${process.execPath}" "${fileURLToPath(new URL("lib/datagrams.js", import.meta.url))}"`);
  const said = stdout.split("\n").find((line) => line.startsWith("["));
  assert.deepEqual(JSON.parse(said ?? "null"), [
    ["127.0.0.1", "127.0.0.1", true],
    ["192.0.2.1", "192.0.2.1", true],
    ["192.0.2.1", "127.0.0.1", true],
    ["192.0.2.1", "192.0.2.2", false],
    ["192.0.2.2", "192.0.2.1", false],
  ], stderr);
});
