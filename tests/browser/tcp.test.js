// Browsers in a network without UDP, on a host of their own: media goes over TCP (RFC 6544), and the server is killed.
// REKINDLE_KILLS says how often, REKINDLE_PUBLISHERS which browsers publish.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { Broadcast } from "./lib/broadcast.js";
import { hostsAreMissing, runAmong } from "./lib/hosts.js";
import { until } from "./lib/pages.js";
import { PUBLISHERS } from "./lib/publishers.js";
import { record } from "./lib/report.js";
import { Server, sleep } from "./lib/server.js";

const KILLS = Number(process.env.REKINDLE_KILLS || 6);
/** How long the server is down, in turns, in ms. */
const DOWN = [0, 1000];
/** Machines that tests share with others get more than the aim of 1 s. */
const LIMIT_MS = Number(process.env.REKINDLE_FRAME_LIMIT ?? 5000);

/** From now on this host's network passes no UDP, in either direction, and says nothing of it. */
const forbidUdp = () => execFileSync("nft", ["add table inet rekindle; add chain inet rekindle in { type filter hook input priority 0; }; add rule inet rekindle in meta l4proto udp drop"]);
const allowUdp = () => execFileSync("nft", ["flush ruleset"]);

function nftIsMissing() {
  try {
    execFileSync("nft", ["--version"], { stdio: "ignore" });
    return null;
  } catch (error) {
    return `nft does not run: ${error.message}`;
  }
}

/** A broadcast of a server on the other host. @param {string} publisher @param {object} [options] of the server */
async function open(publisher, options = {}) {
  const { server: there } = JSON.parse(process.env.REKINDLE_HOSTS);
  const args = ["--open", "--ice-tcp", "--advertise", there.address];
  const server = await Server.make({ host: there.address, udpHost: there.address, words: there.words, args, ...options });
  return Broadcast.open({ publisher, viewers: ["chromium", "firefox"], server, launch: ({ url }) => ({ trusted: url }) });
}

const transports = (broadcast) => Promise.all(broadcast.tabs.map((tab) => tab.run(() => window.seen.transport())));

async function are(broadcast, transport) {
  let now;
  await until(async () => (now = await transports(broadcast)).every((one) => one === transport), () => broadcast.story(`all use ${transport}, not ${now}`), 30_000);
}

/** Kills the server, and resolves with the time until each viewer has a new frame, on the connection, track and join that it had. */
async function kill(broadcast, number, down) {
  const before = await broadcast.identities();
  const { startedAt } = await broadcast.restart(down);
  const frames = await broadcast.firstFrames(startedAt, LIMIT_MS);
  if (!frames.every((ms) => ms !== null)) assert.fail(await broadcast.story(`kill ${number}, down ${down} ms: first frames after ${frames} ms`));
  await broadcast.survived(number);
  assert.deepEqual(await broadcast.identities(), before, "connections, tracks and joins");
  return frames;
}

if (process.env.REKINDLE_HOSTS) {
  for (const publisher of PUBLISHERS) {
    test(`without UDP, published by ${publisher}, watched in Chromium and Firefox`, { timeout: 100_000 + KILLS * 15_000 }, async () => {
      forbidUdp();
      const broadcast = await open(publisher);
      const rounds = [];
      try {
        await are(broadcast, "tcp");
        for (let number = 1; number <= KILLS; number++) {
          await sleep(800);
          const down = DOWN[(number - 1) % DOWN.length];
          rounds.push({ down, first_frame_after_start_ms: await kill(broadcast, number, down) });
          await are(broadcast, "tcp");
        }
        broadcast.assertNoProblems();
      } finally {
        record(`no UDP, publisher ${publisher}`, { viewers: broadcast.viewers.map((tab) => tab.browser.name), rounds });
        await broadcast.close();
        allowUdp();
      }
    });
  }

  test("where a supervisor holds the ports, a restart over TCP refuses nobody", { timeout: 100_000 }, async () => {
    forbidUdp();
    const broadcast = await open("chromium", { supervised: true });
    try {
      await are(broadcast, "tcp");
      await sleep(800);
      const frames = await kill(broadcast, 1, 0);
      record("no UDP, supervised", { viewers: ["chromium", "firefox"], first_frame_after_start_ms: frames });
      broadcast.assertNoProblems();
    } finally {
      await broadcast.close();
      allowUdp();
    }
  });

  test("UDP is used where it passes, and TCP from when it no longer does", { timeout: 150_000 }, async () => {
    const broadcast = await open("chromium");
    try {
      await are(broadcast, "udp");
      await kill(broadcast, 1, 0);
      await are(broadcast, "udp");
      const before = await broadcast.identities();
      const since = Date.now();
      forbidUdp();
      await are(broadcast, "tcp");
      const frames = await broadcast.firstFrames(since, 20_000);
      assert.ok(frames.every((ms) => ms !== null), await broadcast.story("frames over TCP"));
      await until(async () => (await Promise.all(broadcast.tabs.map((tab) => tab.run(() => document.querySelector("#status-text").textContent)))).every((text) => text.startsWith("Connected")), () => broadcast.story("all are connected"), 20_000);
      assert.deepEqual(await broadcast.identities(), before, "connections, tracks and joins");
      record("UDP is lost", { viewers: ["chromium", "firefox"], frames_go_on_after_ms: frames });
    } finally {
      await broadcast.close();
      allowUdp();
    }
  });
} else {
  const missing = hostsAreMissing() ?? nftIsMissing();
  const skip = missing && !process.env.CI ? missing : false;
  test("media over TCP, on networks of their own", { skip, timeout: 600_000 }, async () => {
    assert.equal(missing, null);
    assert.equal(await runAmong(["server"], fileURLToPath(import.meta.url)), 0);
  });
}
