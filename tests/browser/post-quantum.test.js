// A server that requires a post-quantum key exchange, in a build with BoringSSL: browsers as they come have one, also over a restart.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Broadcast } from "./lib/broadcast.js";
import { Browsers, Tab, until } from "./lib/pages.js";
import { Server } from "./lib/server.js";

/** What the page says of its keys. */
const KEYS = "X25519MLKEM768, AES-256-GCM";

for (const publisher of ["chromium", "firefox"]) {
  test(`published by ${publisher}: X25519MLKEM768 and AES-256-GCM for all, before and after kill -9`, { timeout: 120_000 }, async () => {
    const broadcast = await Broadcast.open({ publisher, viewers: ["chromium", "firefox"], server: { args: ["--require-post-quantum"] } });
    try {
      const tabs = [broadcast.publisher, ...broadcast.viewers];
      const count = async (name) => {
        const { text } = await broadcast.server.get("/metrics");
        return Number(new RegExp(`^rekindle_${name} (\\d+)$`, "m").exec(text)?.[1]);
      };
      const all = async (after) => {
        for (const tab of tabs) await until(async () => (await tab.fact("keys")) === KEYS, () => tab.describe(`keys ${after}`));
        const made = await count("handshakes_total");
        assert.ok(made >= tabs.length, `${made} handshakes ${after}`);
        assert.equal(await count('handshakes_by_group_total{group="X25519MLKEM768"}'), made);
        assert.equal(await count('handshakes_by_version_total{version="DTLS 1.3"}'), made);
        assert.equal(await count('handshakes_by_srtp_total{srtp="AES-256-GCM"}'), made);
      };
      await all("at first");
      const before = await broadcast.identities();
      const { startedAt } = await broadcast.restart(300);
      const frames = await broadcast.firstFrames(startedAt);
      assert.ok(frames.every((ms) => ms !== null), await broadcast.story(`frames after the restart: ${frames}`));
      await all("after the restart");
      assert.deepEqual(await broadcast.identities(), before, "the same connections and tracks");
      console.log(`first frames ${frames.map((ms) => Math.round(ms))} ms after the start of the new process`);
    } finally {
      await broadcast.close();
    }
  });
}

test("firefox that sends no share of X25519MLKEM768 is asked for one, and gets it", { timeout: 60_000 }, async () => {
  const broadcast = await Broadcast.open({ publisher: "firefox", viewers: ["firefox"], server: { args: ["--require-post-quantum"] }, launch: () => ({ unshared: true }) });
  try {
    for (const tab of broadcast.tabs) assert.equal(await tab.fact("keys"), KEYS);
  } finally {
    await broadcast.close();
  }
});

for (const name of ["chromium", "firefox"]) {
  test(`${name} without X25519MLKEM768 is refused, and the page says why and what to do`, { timeout: 60_000 }, async () => {
    const server = await Server.make({ args: ["--require-post-quantum"] });
    const browsers = new Browsers();
    try {
      await server.start();
      const tab = await Tab.open(await browsers.get(name, { classical: true }), `${server.url}/?channel=test`);
      tab.role = "publisher";
      await tab.goLive();
      const says = (text) => tab.run((part) => document.body.innerText.includes(part), text);
      for (const text of ["post-quantum key exchange (X25519MLKEM768), and this one offers none", "Try a current browser."]) {
        await until(() => says(text), () => tab.describe(`“${text}”`), 20_000);
      }
      const { text } = await server.get("/metrics");
      assert.match(text, /^rekindle_sessions_ended_total{reason="not-post-quantum"} 1$/m);
      assert.match(text, /^rekindle_handshakes_total 0$/m);
      assert.match(server.log(100), /WARN.*turned away.*offers no post-quantum key exchange/);
    } finally {
      await browsers.close();
      await server.close();
    }
  });
}
