// A server that is away for a minute: longer than a browser's consent to send lasts (RFC 7675: 30 s).
import assert from "node:assert/strict";
import { test } from "node:test";
import { Broadcast } from "./lib/broadcast.js";
import { Tab, until } from "./lib/pages.js";
import { record } from "./lib/report.js";
import { sleep } from "./lib/server.js";

test("the server is away for 60 s", { timeout: 180_000 }, async () => {
  const broadcast = await Broadcast.open({ publisher: "chromium", viewers: ["chromium", "firefox"] });
  const result = {};
  try {
    // A second channel the other way round, so that each browser is cut off in each role.
    const url = `${broadcast.server.url}/?channel=other`;
    const publisher = await Tab.publisher(await broadcast.browsers.get("firefox"), url);
    const viewer = await Tab.viewer(await broadcast.browsers.get("chromium"), url);
    const all = [...broadcast.tabs, publisher, viewer];
    const viewers = [...broadcast.viewers, viewer];
    await broadcast.server.kill();
    await sleep(2500);
    for (const tab of viewers) {
      assert.equal(await tab.run(() => document.querySelector("#overlay").hidden), false, await tab.describe("a still picture is explained"));
      assert.equal(await tab.fact("notice-title"), "Server gone");
    }
    await sleep(57_500);
    const startedAt = broadcast.server.spawn();
    const frames = await Promise.all(viewers.map((tab) => tab.nextFrame(20_000)));
    for (const [i, at] of frames.entries()) assert.ok(at !== null, await viewers[i].describe("a picture after 60 s"));
    for (const tab of all) await tab.words("Connected", 20_000);
    result.first_frame_ms = Object.fromEntries(viewers.map((tab, i) => [`${i} ${tab.name}`, Math.round(frames[i] - startedAt)]));
    result.connection = Object.fromEntries(await Promise.all(all.map(async (tab, i) => [`${i} ${tab.name}`, await tab.fact("same")])));
    await until(() => viewer.run(() => document.querySelector("#overlay").hidden), () => viewer.describe("no overlay over a moving picture"));
  } finally {
    record("away for 60 s", result);
    await broadcast.close();
  }
});
