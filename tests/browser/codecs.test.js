// Codecs that browsers use only if they are told to: a page that publishes with them, viewers in both browsers, and a kill.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Browsers, Tab, until } from "./lib/pages.js";
import { record } from "./lib/report.js";
import { Server } from "./lib/server.js";

/** Has the page offer these codecs first. */
const prefer = (tab, mimeTypes) =>
  tab.run((wanted) => {
    const add = RTCPeerConnection.prototype.addTransceiver;
    RTCPeerConnection.prototype.addTransceiver = function addTransceiver(track, init) {
      const transceiver = add.call(this, track, init);
      const { codecs } = RTCRtpSender.getCapabilities(track.kind ?? track);
      const first = (codec) => (wanted.includes(codec.mimeType) ? 0 : 1);
      transceiver.setCodecPreferences(codecs.toSorted((a, b) => first(a) - first(b)));
      return transceiver;
    };
  }, mimeTypes);

const nameOf = (mimeType) => mimeType.split("/")[1];

/** What arrives, by codec: packets of sound, frames of picture. */
const received = (tab) =>
  tab.run(async () => {
    const found = {};
    const pc = window.seen.connections.findLast((each) => each.connectionState === "connected");
    const report = await pc.getStats();
    for (const one of report.values()) {
      if (one.type !== "inbound-rtp" || !one.codecId) continue;
      const name = report.get(one.codecId).mimeType.split("/")[1].toUpperCase();
      found[name] = one.kind === "audio" ? one.packetsReceived : one.framesDecoded;
    }
    return found;
  });

const CASES = [
  ["video/AV1", "audio/PCMU"],
  ["video/VP9", "audio/PCMA"],
];

for (const mimeTypes of CASES) {
  const names = mimeTypes.map(nameOf);
  test(`${names.join(" and ")} are seen and heard, before and after a kill`, { timeout: 90_000 }, async () => {
    const browsers = new Browsers();
    const server = await Server.make();
    try {
      await server.start();
      await Tab.publisher(await browsers.get("chromium"), `${server.url}/?channel=test`, (tab) => prefer(tab, mimeTypes));
      const tabs = [];
      for (const name of ["chromium", "firefox"]) tabs.push(await Tab.viewer(await browsers.get(name), `${server.url}/?channel=test`));
      const flows = async (tab, before = {}) => {
        const now = await received(tab);
        return names.every((name) => now[name] > (before[name] ?? 0) + 20);
      };
      for (const tab of tabs) await until(() => flows(tab), async () => `${names} arrive, not ${JSON.stringify(await received(tab))}`, 15_000);
      const identities = await Promise.all(tabs.map((tab) => tab.identity()));
      const before = await Promise.all(tabs.map(received));
      await server.kill();
      server.spawn();
      await server.ready();
      for (const [i, tab] of tabs.entries()) {
        await until(() => flows(tab, before[i]), async () => tab.describe(`${names} go on, not ${JSON.stringify(await received(tab))}`), 15_000);
        assert.deepEqual(await tab.identity(), identities[i], "the same connection");
      }
      record(`${names.join(" and ")} from Chromium, over a kill`, Object.fromEntries(await Promise.all(tabs.map(async (tab) => [tab.name, await received(tab)]))));
    } finally {
      await browsers.close();
      await server.close();
    }
  });
}
