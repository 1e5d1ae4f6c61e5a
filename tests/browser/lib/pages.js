// The real page in a real browser, as a publisher or as a viewer.
import { launch } from "./browsers.js";
import { probe } from "./probe.js";
import { clock, sleep } from "./server.js";

const PROBE = `(${probe})()`;

export class Browsers {
  #open = new Map();

  async get(name, options = {}) {
    const key = `${name} ${JSON.stringify(options)}`;
    if (!this.#open.has(key)) this.#open.set(key, await launch(name, options));
    return this.#open.get(key);
  }

  async close() {
    await Promise.allSettled([...this.#open.values()].map((browser) => browser.close()));
    this.#open.clear();
  }
}

/** Waits until `check` is true. */
export async function until(check, what, timeout = 10_000, every = 20) {
  const end = clock() + timeout;
  let last;
  while (clock() < end) {
    try {
      if (await check()) return;
      last = undefined;
    } catch (error) {
      last = error;
    }
    await sleep(every);
  }
  throw new Error(`after ${timeout} ms still not: ${typeof what === "function" ? await what() : what}${last ? ` (${last.message})` : ""}`);
}

export class Tab {
  /** @type {Awaited<ReturnType<typeof launch>>} */
  browser;
  /** The page in it. @type {Awaited<ReturnType<Tab["browser"]["newPage"]>>} */
  web;
  /** @type {"publisher" | "viewer"} */
  role;

  static async open(browser, url) {
    const tab = new Tab();
    tab.browser = browser;
    tab.web = await browser.newPage(PROBE);
    await tab.web.goto(url);
    return tab;
  }

  /**
   * Opens the page, prepares it where that is wanted, and goes live.
   *
   * @param {Tab["browser"]} browser
   * @param {string} url
   * @param {(tab: Tab) => Promise<void>} [prepare]
   */
  static async publisher(browser, url, prepare = async () => {}) {
    const tab = await Tab.open(browser, url);
    tab.role = "publisher";
    await prepare(tab);
    await tab.goLive();
    await tab.words("Connected");
    await until(async () => (await tab.stats()).encoded > 10, "frames are encoded");
    return tab;
  }

  static async viewer(browser, url) {
    const tab = await Tab.open(browser, url);
    tab.role = "viewer";
    await until(async () => (await tab.stats()).decoded > 10, () => tab.describe("a picture"), 15_000);
    return tab;
  }

  get name() {
    return `${this.role} in ${this.browser.name}`;
  }

  /** Waits for a button of the page and clicks it. */
  async click(id) {
    await until(() => this.run((name) => document.getElementById(name).closest("[hidden]") === null, id), () => this.describe(`the button ${id}`));
    await this.web.click(`#${id}`);
  }

  /** "Publish your camera", and after a look at the preview "Go live". */
  async goLive() {
    await this.click("publish");
    await this.click("go");
  }

  run(fn, argument) {
    return this.web.evaluate(fn, argument);
  }

  /** Waits until the page's status begins with these words. */
  words(text, timeout = 10_000) {
    const check = () => this.run((start) => document.querySelector("#status-text").textContent.startsWith(start), text);
    return until(check, () => this.describe(`“${text}”`), timeout);
  }

  stats() {
    return this.run(() => window.seen.stats());
  }

  identity() {
    return this.run(() => window.seen.identity());
  }

  posts() {
    return this.run(() => window.seen.posts());
  }

  gap(from, to = Number.MAX_VALUE) {
    return this.run(([a, b]) => window.seen.gap(a, b), [from, to]);
  }

  nextFrame(timeout) {
    return this.run((ms) => window.seen.nextFrame(ms), timeout);
  }

  fact(id) {
    return this.run((name) => document.querySelector(`#${name}`).textContent, id);
  }

  async describe(wanted) {
    const state = await this.run(() => ({
      status: document.querySelector("#status-text").textContent,
      notice: document.getElementById("overlay").hidden ? null : document.querySelector("#notice-title").textContent,
      log: [...document.querySelectorAll("#log li")].slice(0, 6).map((line) => line.textContent),
      connections: window.seen.connections.map((c) => [c.connectionState, c.iceConnectionState, c.signalingState]),
      requests: window.seen.requests.slice(-5).map(([at, method, path]) => [Math.round(at % 1e6), method, path.slice(0, 20)]),
      states: window.seen.states.map((state) => state.join(" ")),
    }));
    return `${wanted} (${this.name}: ${JSON.stringify(state)} ${this.web.problems.slice(-3).join("; ")})`;
  }

  close() {
    return this.web.close();
  }
}
