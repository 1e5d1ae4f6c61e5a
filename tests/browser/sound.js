// Which ways of asking for lost sound again are worth their bytes: none, NACK (RFC 4585) for Opus, RED (RFC 2198) with one frame before, or
// both. Four pairs of connections in one Chromium take the same damage at the same time, over relays: holes as a restart makes them, and
// losses. Prints a table in Markdown; `node sound.js [--quick]`.
import http from "node:http";
import { launch } from "./lib/browsers.js";
import { random } from "./lib/numbers.js";
import { UdpRelay } from "./lib/relay.js";
import { freeUdpPort, sleep } from "./lib/server.js";

const QUICK = process.argv.includes("--quick");
const WAYS = ["none", "nack", "red", "nack+red"];
const ROUND_TRIPS_MS = QUICK ? [50] : [0, 20, 50, 100];
const HOLES = QUICK ? 3 : 8;
const LOSS_MS = QUICK ? 3000 : 10_000;
/** As the page's "auto" has it at this round trip. */
const cushionAt = (rttMs) => Math.min(500, 100 + 3 * rttMs);

/** Runs in the page. */
function inPage() {
  const ways = {};
  const complete = (connection) =>
    new Promise((resolve) => {
      const done = () => connection.iceGatheringState === "complete" && resolve();
      connection.addEventListener("icegatheringstatechange", done);
      done();
    });
  const edited = (sdp, way) => {
    const [, opus] = /^a=rtpmap:(\d+) opus/m.exec(sdp);
    const [, red] = /^a=rtpmap:(\d+) red\/48000/m.exec(sdp);
    if (way.includes("nack")) sdp = sdp.replace(/^(a=rtpmap:\d+ opus.*)$/m, `$1\r\na=rtcp-fb:${opus} nack`).replaceAll("\r\r", "\r");
    // What is named first is sent.
    const first = way.includes("red") ? red : opus;
    return sdp.replace(/^(m=audio \d+ \S+)([\d ]*)/m, (_, start, types) => [start, first, ...types.trim().split(" ").filter((type) => type !== first)].join(" "));
  };
  window.offer = async (way) => {
    const stream = await navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false } });
    const [from, to] = [new RTCPeerConnection(), new RTCPeerConnection()];
    ways[way] = { from, to };
    from.addTransceiver(stream.getAudioTracks()[0], { direction: "sendonly" });
    to.addEventListener("track", ({ track }) => {
      const sound = document.body.appendChild(document.createElement("audio"));
      sound.srcObject = new MediaStream([track]);
      return sound.play();
    });
    const { sdp } = await from.createOffer();
    await from.setLocalDescription({ type: "offer", sdp: edited(sdp, way) });
    await complete(from);
    return from.localDescription.sdp;
  };
  window.answer = async (way, sdp) => {
    const { to } = ways[way];
    await to.setRemoteDescription({ type: "offer", sdp });
    const answer = await to.createAnswer();
    await to.setLocalDescription({ type: "answer", sdp: edited(answer.sdp, way) });
    await complete(to);
    return to.localDescription.sdp;
  };
  window.connect = (way, sdp) => ways[way].from.setRemoteDescription({ type: "answer", sdp });
  window.cushion = (ms) => Object.values(ways).forEach(({ to }) => to.getReceivers().forEach((receiver) => (receiver.jitterBufferTarget = ms)));
  window.count = async (way) => {
    const find = async (connection, wanted) => [...(await connection.getStats()).values()].find(({ type }) => type === wanted);
    const [received, sent] = [await find(ways[way].to, "inbound-rtp"), await find(ways[way].from, "outbound-rtp")];
    return { madeUp: received.concealedSamples / 48, heard: received.totalSamplesReceived / 48, bytes: sent.bytesSent + sent.headerBytesSent, delay: received.jitterBufferDelay, emitted: received.jitterBufferEmittedCount };
  };
}

/** The description with a relay in place of the browser's own address. */
async function behind(relays, rttMs, seed, sdp) {
  const [, host, port] = /^a=candidate:\S+ 1 udp \d+ (\d+\.\d+\.\d+\.\d+) (\d+) typ host/im.exec(sdp);
  const relay = await UdpRelay.open({ host: "127.0.0.1", port: await freeUdpPort(), upstream: { host, port: Number(port) }, delayMs: rttMs / 2, random: random(seed) });
  relays.push(relay);
  return sdp.replace(/^a=candidate:.*\r\n/gim, "").replace(/^a=ice-ufrag/m, `a=candidate:1 1 udp 2130706431 127.0.0.1 ${relay.port} typ host\r\na=ice-ufrag`);
}

async function holes(relays) {
  // As long as a restart takes at this round trip: the news, the handshake, and a little.
  const { delayMs } = relays[0];
  for (let hole = 0; hole < HOLES; hole++) {
    for (const relay of relays) relay.loss = 1;
    await sleep(40 + 4 * delayMs);
    for (const relay of relays) relay.loss = 0;
    await sleep(1500);
  }
}

const lossy = (share) => async (relays) => {
  for (const relay of relays) relay.loss = share;
  await sleep(LOSS_MS);
  for (const relay of relays) relay.loss = 0;
  await sleep(1000);
};

const DAMAGE = { [`${HOLES} restarts`]: holes, "2 % loss": lossy(0.02), "10 % loss": lossy(0.1) };

const site = http.createServer((_, answer) => answer.setHeader("content-type", "text/html").end("<title>sound</title><body>"));
await new Promise((resolve) => site.listen(0, "127.0.0.1", resolve));
const browser = await launch("chromium");
try {
  console.log(`| round trip | damage | cushion | ${WAYS.join(" | ")} | kbit/s ${WAYS.join(", ")} |`);
  console.log(`|---|---|---|${"---|".repeat(WAYS.length + 1)}`);
  for (const rttMs of ROUND_TRIPS_MS) {
    const page = await browser.newPage(`(${inPage})()`);
    const relays = [];
    await page.goto(`http://127.0.0.1:${site.address().port}/`);
    for (const way of WAYS) {
      const offer = await behind(relays, rttMs, 3, await page.evaluate((name) => window.offer(name), way));
      const answer = await behind(relays, rttMs, 4, await page.evaluate(([name, sdp]) => window.answer(name, sdp), [way, offer]));
      await page.evaluate(([name, sdp]) => window.connect(name, sdp), [way, answer]);
    }
    for (const cushion of [0, cushionAt(rttMs)]) {
      await page.evaluate((ms) => window.cushion(ms || null), cushion);
      await sleep(4000);
      for (const [name, damage] of Object.entries(DAMAGE)) {
        const counts = () => Promise.all(WAYS.map((way) => page.evaluate((one) => window.count(one), way)));
        const before = await counts();
        await damage(relays);
        const after = await counts();
        const madeUp = after.map((count, i) => Math.round(count.madeUp - before[i].madeUp));
        const rates = after.map((count, i) => Math.round(((count.bytes - before[i].bytes) * 8) / (count.heard - before[i].heard)));
        console.log(`| ${rttMs} ms | ${name} | ${cushion} ms | ${madeUp.map((ms) => `${ms} ms`).join(" | ")} | ${rates.join(", ")} |`);
      }
    }
    await page.close();
    for (const relay of relays) relay.close();
  }
} finally {
  await browser.close();
  site.close();
}
