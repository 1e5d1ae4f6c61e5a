// Browsers that nothing but a TURN server lets through, by UDP and by TCP: `iceServers` and `iceTransportPolicy: "relay"` of the module, and a
// kill -9 of rekindle behind the relay. It learns the relay's address as it learns any other, and a renewed handshake takes the same way.
import assert from "node:assert/strict";
import http from "node:http";
import { test } from "node:test";
import { Browsers, until } from "./lib/pages.js";
import { record } from "./lib/report.js";
import { Server, sleep } from "./lib/server.js";
import { TurnServer, turnProgram } from "./lib/turn.js";

/** Browser and transport to the relay; the short form has two of the four. */
const CASES = (process.env.REKINDLE_TURN ?? "chromium:udp,chromium:tcp,firefox:udp,firefox:tcp").split(",").map((each) => each.split(":"));
const KILLS = Number(process.env.REKINDLE_TURN_KILLS ?? 3);

/** A page of the test's own: it has the module, and what is made with it. */
async function site() {
  const page = `<!doctype html><title>TURN</title><video autoplay muted playsinline></video><script>
    const made = [];
    window.RTCPeerConnection = class extends RTCPeerConnection {
      constructor(...all) { super(...all); made.push(this); }
    };
    window.made = made;
  </script>`;
  const pages = http.createServer((_, response) => response.writeHead(200, { "Content-Type": "text/html; charset=utf-8" }).end(page));
  await new Promise((resolve) => pages.listen(0, "127.0.0.1", () => resolve(null)));
  const { port } = /** @type {import("node:net").AddressInfo} */ (pages.address());
  return { url: `http://127.0.0.1:${port}/`, close: () => pages.close() };
}

/** Publishes or watches; @param {any} web @param {{ url: string, role: string, options: object }} how */
function begin(web, how) {
  return web.evaluate(async ({ url, role, options }) => {
    const { publish, watch } = await import(`${url}/rekindle.js`);
    const video = document.querySelector("video");
    window.told = [];
    if (role === "publisher") {
      const stream = await navigator.mediaDevices.getUserMedia({ audio: true, video: { width: 320, height: 240, frameRate: 30 } });
      video.srcObject = stream;
      window.session = publish(`${url}/whip/test`, stream, options);
    } else {
      window.session = watch(`${url}/whep/test`, options);
      window.session.addEventListener("track", () => (video.srcObject = window.session.stream));
    }
    window.session.addEventListener("state", ({ detail }) => window.told.push([Math.round(performance.now()), detail.state, detail.reason ?? ""].join(" ")));
    window.session.addEventListener("restart", ({ detail }) => window.told.push(`restart ${detail.took_ms}`));
    window.session.addEventListener("error", ({ detail }) => window.told.push(`error ${detail.message}`));
  }, how);
}

/** What is so in a page: the kinds of the addresses in use, frames, restarts. */
const look = (web) =>
  web.evaluate(async () => {
    const { session, made } = window;
    const reports = [...((await session.pc?.getStats()) ?? new Map()).values()];
    const pairs = reports.filter(({ type, state, nominated, selected }) => type === "candidate-pair" && state === "succeeded" && (selected ?? nominated));
    const locals = pairs.map(({ localCandidateId }) => reports.find(({ id }) => id === localCandidateId) ?? {});
    const kinds = locals.map(({ candidateType, relayProtocol }) => `${candidateType} ${relayProtocol}`);
    const media = reports.find(({ type, kind }) => (type === "inbound-rtp" || type === "outbound-rtp") && kind === "video");
    return { state: session.state, restarts: session.restarts, replacements: session.replacements, made: made.length, kinds, frames: media?.framesDecoded ?? media?.framesEncoded ?? 0, told: window.told.slice(-8) };
  });

for (const [name, transport] of CASES) {
  test(`publisher and viewer behind TURN over ${transport} survive ${KILLS} kills (${name})`, { timeout: 120_000 }, async () => {
    const program = turnProgram();
    assert.ok(program, "turnserver is there: Debian's package coturn, which test.sh unpacks");
    const turn = await TurnServer.start(program);
    const browsers = new Browsers();
    const server = await Server.make({ args: ["--advertise", "127.0.0.1"] });
    const pages = await site();
    try {
      await server.start();
      const browser = await browsers.get(name);
      const options = { iceServers: [turn.server(transport)], rtc: { iceTransportPolicy: "relay" } };
      const open = async (role) => {
        const web = await browser.newPage();
        await web.goto(pages.url);
        await begin(web, { url: server.url, role, options });
        return web;
      };
      const publisher = await open("publisher");
      const viewer = await open("viewer");
      const tell = async (what) => `${what}: ${JSON.stringify([await look(publisher), await look(viewer)])} ${turn.log().slice(-1500)}`;
      const moves = async (what) => {
        const before = (await look(viewer)).frames;
        await until(async () => (await look(viewer)).frames > before + 10, () => tell(what), 20_000, 100);
      };
      await moves("a picture");
      const relayed = async (web) => {
        const { kinds } = await look(web);
        return kinds.length > 0 && kinds.every((kind) => kind === `relay ${transport}`);
      };
      for (const web of [publisher, viewer]) await until(() => relayed(web), () => tell("by the relay alone"));
      const took = [];
      for (let kill = 1; kill <= KILLS; kill++) {
        await server.kill();
        server.spawn();
        await until(async () => (await look(publisher)).restarts === kill && (await look(viewer)).restarts === kill, () => tell(`${kill} restarts`), 20_000, 100);
        await moves(`the picture after kill ${kill}`);
        took.push(Number(/restart (\d+)/.exec((await look(viewer)).told.findLast((text) => text.startsWith("restart")))[1]));
        // The next renewal is prepared when all has been well for a second.
        await sleep(1500);
      }
      for (const web of [publisher, viewer]) {
        const { made, replacements } = await look(web);
        assert.deepEqual([made, replacements], [1, 0], await tell("one connection, and no new join"));
        await until(() => relayed(web), () => tell("by the relay still"));
      }
      record(`behind TURN over ${transport}, ${name}`, { took_ms: took });
      assert.deepEqual([publisher, viewer].flatMap(({ problems }) => problems).filter((text) => !/Failed to load resource|Cross-Origin|NetworkError/.test(text)), []);
    } finally {
      await browsers.close();
      pages.close();
      await server.close();
      await turn.close();
    }
  });
}
