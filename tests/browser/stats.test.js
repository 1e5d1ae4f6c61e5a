// The operators' page: it goes on by itself over a kill -9 and shows the new boot and how browsers came back, in windows from 320 px to 4K, in both
// themes, by keyboard, and for all (axe). And the list of live channels on the page for viewers.
import assert from "node:assert/strict";
import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { test } from "node:test";
import { Broadcast } from "./lib/broadcast.js";
import { Browsers, Tab, until } from "./lib/pages.js";
import { Server, freeTcpPort } from "./lib/server.js";

const AXE = fs.readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const TOKEN = "admin+token/for-the-page==";

const text = (web, id) => web.evaluate((name) => document.getElementById(name).textContent, id);
const table = (web, id) => web.evaluate((name) => [...document.getElementById(name).rows].map((row) => [...row.cells].map(({ textContent }) => textContent)), id);
const says = (web, id, pattern, timeout = 10_000) => until(async () => pattern.test(await text(web, id)), async () => `${id}: ${pattern}, and not ${await text(web, id)}; ${web.problems.slice(-3)}`, timeout);

/** What axe finds, and by how much the page is wider than the window. */
async function check(web, state, rules = null) {
  if (!(await web.evaluate(() => "axe" in window))) await web.evaluate(AXE);
  const violations = await web.evaluate(async (only) => {
    const found = await window.axe.run(document, { resultTypes: ["violations"], ...(only && { runOnly: only }) });
    return found.violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html, any }) => `${html.slice(0, 120)} ${any[0]?.message ?? ""}`).join(" | ")}`);
  }, rules);
  assert.deepEqual(violations, [], state);
  const wider = await web.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(wider <= 0, `${state}: ${wider} px wider than the window`);
}

for (const name of (process.env.REKINDLE_PAGE ?? "chromium,firefox").split(",")) {
  test(`operators see a kill -9, the boot after it and how browsers came back (${name})`, { timeout: 120_000 }, async () => {
    const admin = `127.0.0.1:${await freeTcpPort()}`;
    const server = await Server.make({ args: ["--admin", admin, "--admin-token-file", "admin-token", "--list-channels"] });
    fs.writeFileSync(path.join(server.dir, "admin-token"), `${TOKEN}\n`);
    const broadcast = await Broadcast.open({ server, publisher: "chromium", viewers: [name] });
    try {
      const web = await (await broadcast.browsers.get(name)).newPage();
      await web.goto(`http://${admin}/stats`);
      await says(web, "status", /^Waiting for a token$/);
      await until(() => web.evaluate(() => document.activeElement?.id === "token"), "the field has the focus");
      await web.size(320, 640);
      await check(web, "a token is wanted");
      // Firefox gives keys to the window in front only.
      await web.bringToFront();
      await web.type("#token", "wrong");
      await web.press("Enter");
      await says(web, "token-title", /is not right$/);
      await web.type("#token", TOKEN);
      await web.press("Enter");
      await says(web, "status", /^Boot 1 runs$/);
      assert.equal(await web.evaluate(() => document.querySelector("#token").value + location.href + JSON.stringify([sessionStorage, localStorage])), `http://${admin}/stats[{},{}]`);
      await says(web, "curve-words", /^Boot 1 had no browsers/);
      await says(web, "rates-words", /^[1-9][\d.]* [kM]bit\/s from publishers[1-9][\d.]* [kM]bit\/s to viewers$/);
      await says(web, "loss-words", /% of packets lost/, 20_000);
      const [[channel, viewers, bitsIn, bitsOut, , state]] = await table(web, "channels");
      assert.deepEqual([channel, viewers, state.replace(/ \d.*/, "")], ["test", "1", "live since"]);
      assert.match(bitsIn, /^[1-9][\d.]* [kM]bit\/s$/);
      assert.match(bitsOut, /^[1-9][\d.]* [kM]bit\/s$/);
      await until(async () => /^\d+\.\d %$/.test((await table(web, "channels"))[0][4]), async () => `loss of the channel: ${(await table(web, "channels")).join()}`, 20_000);

      await server.kill();
      await says(web, "status", /^Boot 1 does not answer$/);
      await check(web, "the server is gone");
      server.spawn();
      await broadcast.survived(1);
      await says(web, "status", /^Boot 2 runs$/);
      await says(web, "curve-words", /^Boot 2: 2 came back, half of them after \d.*, the last after \d[\d.]* m?s\.$/);
      const [second, first] = await table(web, "boots");
      assert.deepEqual([second[0], second[1], second[5], second[6]], ["2", "2", "0", "0"]);
      assert.ok(second.slice(2, 5).every((time) => /^\d[\d.]* m?s$/.test(time)), second.join());
      assert.deepEqual([first[0], first[1]], ["1", "0"]);
      // The curve is drawn, and rates begin anew where the new process does.
      assert.ok(await web.evaluate(() => document.querySelector("#curve .first").getAttribute("d").length > 20));
      await until(() => web.evaluate(() => document.querySelectorAll("#rates .boot").length === 1), "where the new boot begins is marked");
      await check(web, "after a restart, 320 px");
      await web.size(3840, 2160);
      await until(() => web.evaluate(() => document.querySelector("#curve").getAttribute("viewBox").split(" ")[2] > 1000), "it is drawn anew");
      await check(web, "after a restart, 4K");
      // All that scrolls or can be used is reached by the keyboard.
      await web.bringToFront();
      await web.press("Tab");
      assert.equal(await web.evaluate(() => document.activeElement?.className), "scrolls");
      assert.deepEqual(web.problems.filter((problem) => !/Failed to load resource|NetworkError|ERR_CONNECTION/.test(problem)), []);

      // Who watches finds the channel in a list, and elsewhere a link to it.
      const [viewer] = broadcast.viewers;
      const listed = (tab) => tab.run(() => [...document.querySelectorAll("#channels-list li")].map(({ textContent }) => textContent).join());
      await until(async () => (await listed(viewer)) === "test 1 watches", async () => viewer.describe(`the list, and not ${await listed(viewer)}`));
      const other = await Tab.open(await broadcast.browsers.get(name), `${server.url}/?channel=nothing`);
      await until(async () => /^test/.test(await listed(other)), async () => `the list elsewhere, and not ${await listed(other)}`);
      assert.equal(await other.run(() => document.querySelector("#channels-list a").getAttribute("href")), "?channel=test");
      await other.web.size(320, 640);
      await check(other.web, "a list of channels");
      await other.web.click("#channels-list a");
      other.role = "viewer";
      await until(async () => (await other.stats()).decoded > 5, () => other.describe("its picture"), 20_000);
      broadcast.assertNoProblems();
    } finally {
      await broadcast.close();
    }
  });
}

for (const [name, dark] of (process.env.REKINDLE_PAGE ? [["chromium", true]] : [["chromium", true], ["firefox", true]])) {
  test(`the operators' page in dark, without a token where it is for this machine only (${name})`, { timeout: 60_000 }, async () => {
    const admin = `127.0.0.1:${await freeTcpPort()}`;
    const server = await Server.make({ args: ["--admin", admin] });
    const browsers = new Browsers();
    try {
      await server.start();
      const web = await (await browsers.get(name, { dark })).newPage();
      await web.goto(`http://${admin}/stats`);
      await says(web, "status", /^Boot 1 runs$/);
      assert.equal(await web.evaluate(() => matchMedia("(prefers-color-scheme: dark)").matches), true);
      await check(web, "dark", ["color-contrast"]);
      await server.kill();
      await says(web, "status", /^Boot 1 does not answer$/);
      await check(web, "dark, and the server is gone", ["color-contrast"]);
      // Without the option nothing is listed, and no error stands in a page's console.
      await server.start();
      const tab = await Tab.open(await browsers.get(name, { dark }), `${server.url}/?channel=test`);
      await tab.words("Waiting for a publisher");
      assert.equal(await tab.run(() => document.querySelector("#channels").hidden), true);
      assert.ok(!tab.web.problems.some((problem) => /channels/.test(problem)), tab.web.problems.join());
    } finally {
      await browsers.close();
      await server.close();
    }
  });
}
