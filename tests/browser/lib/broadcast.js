// A running broadcast: the server, one publisher, some viewers, and what is asked of every restart.
import assert from "node:assert/strict";
import { Browsers, Tab, until } from "./pages.js";
import { TcpRelay, UdpRelay } from "./relay.js";
import { Server, ownAddress, sleep } from "./server.js";

/**
 * @typedef {object} Options
 * @property {string} [publisher] its browser
 * @property {(string | Viewer)[]} [viewers] theirs
 * @property {Parameters<typeof Server.make>[0] | Server} [server] how it is made, or one that is there
 * @property {(server: Server) => string | Promise<string>} [publisherUrl] where the publisher opens the page
 * @property {(tab: Tab) => Promise<void>} [publisherPrepare] what is done before it publishes
 * @property {(server: Server) => string | Promise<string>} [viewerUrl]
 * @property {Launch} [viewerLaunch]
 * @property {(server: Server) => Launch} [launch]
 * @property {Launch} [publisherLaunch]
 *
 * @typedef {{ browser: string, launch?: Launch, url?: string }} Viewer a viewer that is started in its own way, or opens the page elsewhere
 *
 * @typedef {Parameters<typeof import("./browsers.js").launch>[1]} Launch how a browser is started
 */

export class Broadcast {
  browsers = new Browsers();
  /** @type {Server} */
  server;
  /** The page's address. @type {string} */
  url;
  /** @type {Tab} */
  publisher;
  /** @type {Tab[]} */
  viewers = [];
  /** Where there are relays. @type {(() => void) | undefined} */
  closeRelays;
  /** Those for media. @type {UdpRelay[]} */
  relays = [];

  /** @param {Options} [options] */
  static async open({ server: options = {}, ...rest } = {}) {
    const server = options instanceof Server ? options : await Server.make(options);
    try {
      await server.start();
    } catch (error) {
      await server.close();
      throw error;
    }
    return Broadcast.join(server, rest);
  }

  /** The same at a server that runs. @param {Server} server @param {Omit<Options, "server">} [options] */
  static async join(server, { publisher = "chromium", viewers = ["chromium", "firefox"], publisherUrl, publisherPrepare, publisherLaunch = {}, viewerUrl, viewerLaunch = {}, launch = () => ({}) } = {}) {
    const broadcast = new Broadcast();
    broadcast.server = server;
    try {
      const url = `${server.url}/?channel=test`;
      broadcast.url = url;
      broadcast.publisher = await Tab.publisher(await broadcast.browsers.get(publisher, { ...launch(server), ...publisherLaunch }), (await publisherUrl?.(server)) ?? url, publisherPrepare);
      for (const viewer of viewers) {
        const { browser, launch: own = {}, url: at } = typeof viewer === "string" ? { browser: viewer } : viewer;
        const started = await broadcast.browsers.get(browser, { ...launch(server), ...viewerLaunch, ...own });
        broadcast.viewers.push(await Tab.viewer(started, at ?? (await viewerUrl?.(server)) ?? url));
      }
      // Until the event streams are open and the encoder has found its pace.
      await sleep(1500);
    } catch (error) {
      await broadcast.close();
      throw error;
    }
    return broadcast;
  }

  /**
   * The same with the browsers a round trip away: the server lives behind one address, the relay is what it advertises, and both use the same
   * port. `relay`: what else the datagrams go through.
   *
   * @param {number} rttMs
   * @param {Omit<Options, "server"> & { server?: { args?: string[] }, relay?: { loss?: number, lossUp?: number, lossDown?: number, random?: () => number, watch?: UdpRelay["watch"] } }} [options]
   */
  static async openFar(rttMs, { relay = {}, server: { args = [] } = {}, ...options } = {}) {
    const relays = [];
    const own = ownAddress();
    const url = async (server) => {
      if (relays.length === 0) {
        relays.push(await TcpRelay.open(server.port, { delayMs: rttMs / 2 }));
        const upstream = { host: "127.0.0.1", port: server.udpPort };
        relays.push(await UdpRelay.open({ host: own, port: server.udpPort, upstream, delayMs: rttMs / 2, ...relay }));
      }
      return `http://127.0.0.1:${relays[0].port}/?channel=test`;
    };
    const closeRelays = () => relays.forEach((one) => one.close());
    try {
      const server = { args: [...args, "--advertise", own], udpHost: "127.0.0.1" };
      const broadcast = await Broadcast.open({ ...options, server, publisherUrl: url, viewerUrl: url });
      broadcast.closeRelays = closeRelays;
      broadcast.relays = relays.filter((one) => one instanceof UdpRelay);
      return broadcast;
    } catch (error) {
      closeRelays();
      throw error;
    }
  }

  get tabs() {
    return [this.publisher, ...this.viewers];
  }

  /** Kills the server, leaves it down for a while and starts it again; resolves with the times. */
  async restart(downMs = 0) {
    const killedAt = await this.server.kill();
    if (downMs > 0) await sleep(downMs);
    const startedAt = this.server.spawn();
    return { killedAt, startedAt };
  }

  /** Waits until every page has survived so many restarts, and all say that they are connected. */
  async survived(restarts, timeout = 10_000) {
    for (const tab of this.tabs) {
      await until(async () => Number(await tab.fact("restarts")) === restarts, () => tab.describe(`${restarts} restarts survived`), timeout);
      await tab.words("Connected", timeout);
    }
  }

  /** What must be the same before and after: connection, tracks, stream, and the number of joins. */
  identities() {
    return Promise.all(this.tabs.map(async (tab) => `${tab.name}: ${await tab.identity()}, ${await tab.posts()} joins`));
  }

  /** What a restart takes, as the server says. */
  async mode() {
    const { text } = await this.server.get("/healthz");
    return JSON.parse(text).mode;
  }

  /** DTLS handshakes that each page has begun so far, and how many of them because the browser's consent to send was about to end. */
  handshakes() {
    return Promise.all(this.tabs.map((tab) => tab.run(() => ({ begun: window.seen.handshakes, excused: window.seen.excused }))));
  }

  /** When each viewer decoded the first frame after this call, in ms after `since`. */
  async firstFrames(since, timeout = 5000) {
    const times = await Promise.all(this.viewers.map((tab) => tab.nextFrame(timeout)));
    return times.map((at) => (at === null ? null : Math.round(at - since)));
  }

  /** What every page says, for the story of a failure. */
  async story(what) {
    const pages = await Promise.all(this.tabs.map((tab) => tab.describe("")));
    return [what, ...pages, `server:\n${this.server.log(25)}`].join("\n  ");
  }

  /** Frames encoded by the publisher and decoded by each viewer, counted while the camera is held and nothing is on its way. */
  async frames() {
    await this.publisher.run(() => window.seen.hold(true));
    let last = "";
    await until(async () => {
      const counts = JSON.stringify(await this.#counts());
      const still = counts === last;
      last = counts;
      if (!still) await sleep(400);
      return still;
    }, "no frame is on its way");
    const counts = await this.#counts();
    await this.publisher.run(() => window.seen.hold(false));
    await Promise.all(this.viewers.map((tab) => tab.nextFrame(5000)));
    return counts;
  }

  async #counts() {
    const [publisher, ...viewers] = await Promise.all(this.tabs.map((tab) => tab.stats()));
    return { encoded: publisher.encoded, decoded: viewers.map(({ decoded }) => decoded) };
  }

  /** No page had an error of its own. Requests that fail while the server is down are the browser's words, not errors of ours. */
  assertNoProblems() {
    for (const tab of this.tabs) {
      assert.deepEqual(tab.web.problems.filter((text) => !/^(console|page error): .*(Failed to load resource|Cross-Origin|NetworkError|WebSocket)/.test(text)), [], tab.name);
    }
  }

  async close() {
    await this.browsers.close();
    await this.server.close();
    this.closeRelays?.();
  }
}
