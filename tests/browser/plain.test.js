// Plain clients, in real browsers without the module: what becomes of them where they cannot go on.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Browsers, Tab, until } from "./lib/pages.js";
import { record } from "./lib/report.js";
import { Server, clock, ownAddress, sleep } from "./lib/server.js";

/** Makes `window.plain`, a connection of a page that has WHIP or WHEP and no more, with an RSA certificate if that is wanted. */
const join = (tab, path, publishes, rsa) =>
  tab.run(
    async ([url, sends, withRsa]) => {
      const algorithm = { name: "RSASSA-PKCS1-v1_5", modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]), hash: "SHA-256" };
      const certificates = withRsa ? [await RTCPeerConnection.generateCertificate(algorithm)] : undefined;
      const pc = new RTCPeerConnection({ certificates, bundlePolicy: "max-bundle" });
      window.plain = { pc, states: [] };
      pc.addEventListener("connectionstatechange", () => window.plain.states.push([Date.now(), pc.connectionState]));
      const stream = sends ? await navigator.mediaDevices.getUserMedia({ audio: true, video: true }) : null;
      for (const kind of ["audio", "video"]) {
        const track = stream?.getTracks().find((one) => one.kind === kind);
        pc.addTransceiver(track ?? kind, { direction: sends ? "sendonly" : "recvonly" });
      }
      await pc.setLocalDescription();
      const response = await fetch(url, { method: "POST", headers: { "content-type": "application/sdp" }, body: pc.localDescription.sdp });
      if (response.status !== 201) throw new Error(`${response.status}`);
      await pc.setRemoteDescription({ type: "answer", sdp: await response.text() });
    },
    [path, publishes, rsa],
  );

const state = (tab) => tab.run(() => window.plain.pc.connectionState);
const since = (tab, name, at) => tab.run(([state, from]) => window.plain.states.find(([when, is]) => is === state && when >= from)?.[0] - from, [name, at]);

async function stage(options) {
  const browsers = new Browsers();
  const server = await Server.make(options);
  await server.start();
  return { browsers, server, close: async () => (await browsers.close(), await server.close()) };
}

test("a browser with an RSA certificate is told within seconds that it cannot be served, and the log says why", { timeout: 60_000 }, async () => {
  const { browsers, server, close } = await stage();
  try {
    const chromium = await browsers.get("chromium");
    const publisher = await Tab.publisher(chromium, `${server.url}/?channel=test`);
    const took = {};
    for (const [path, publishes] of [["/whep/test", false], ["/whip/other", true]]) {
      const tab = await Tab.open(chromium, `${server.url}/?channel=nobody`);
      const begin = clock();
      await join(tab, path, publishes, true);
      await until(async () => (await state(tab)) === "failed", async () => `the connection fails (it is ${await state(tab)})`, 15_000);
      took[path] = Math.round(clock() - begin);
      await tab.close();
    }
    record("RSA certificates in Chromium, until the connection has failed", took);
    // What ends a handshake in plaintext may be anybody's, so it counts only after a while.
    const warnings = () => server.log(200).split("\n").filter((line) => /WARN.*turned away.*P-256/.test(line)).length;
    await until(() => warnings() === 2, () => server.log(50), 10_000);
    await publisher.words("Connected");
  } finally {
    await close();
  }
});

for (const name of ["chromium", "firefox"]) {
  test(`a plain publisher and a plain viewer hear soon after a restart that they are no more (${name})`, { timeout: 90_000 }, async () => {
    const { browsers, server, close } = await stage({ args: ["--advertise", ownAddress()] });
    try {
      const browser = await browsers.get(name);
      const tabs = [];
      for (const [path, publishes] of [["/whip/test", true], ["/whep/test", false]]) {
        const tab = await Tab.open(browser, `${server.url}/?channel=nobody`);
        await join(tab, path, publishes, false);
        await until(async () => (await state(tab)) === "connected", "connected");
        tabs.push(tab);
      }
      await sleep(3000);
      const killedAt = Date.now();
      await server.kill();
      server.spawn();
      await server.ready();
      const over = name === "chromium" ? "failed" : "disconnected";
      for (const tab of tabs) await until(async () => ["failed", over].includes(await state(tab)), async () => `${over} (it is ${await state(tab)})`, 30_000);
      const times = {};
      for (const [i, role] of ["publisher", "viewer"].entries()) times[role] = await since(tabs[i], over, killedAt);
      // Its channel is free: another one may publish there.
      const next = await Tab.open(browser, `${server.url}/?channel=nobody`);
      await join(next, "/whip/test", true, false);
      record(`plain clients in ${name}, from the kill until ${over}`, times);
    } finally {
      await close();
    }
  });
}
