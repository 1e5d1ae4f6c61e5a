/**
 * The list of live channels, where whoever runs the server wants it to be seen (`--list-channels`).
 *
 * @module
 */

import { element, write } from "./page-parts.js";

const EVERY_MS = 5000;

/** @typedef {{ name: string, viewers: number }} Channel */

/** @param {number} viewers */
export const viewerWords = (viewers) => (viewers === 0 ? "nobody watches" : viewers === 1 ? "1 watches" : `${viewers} watch`);

export class Channels {
  #channel;
  #token;
  /** What was refused is not shown to the server again. @type {string | undefined | null} */
  #refused = null;

  /** @param {string} channel this page's @param {() => string | undefined} token for watching */
  constructor(channel, token) {
    this.#channel = channel;
    this.#token = token;
    this.#follow();
  }

  async #follow() {
    while (await this.#look().catch(() => true)) await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
  }

  /** Asks for the list; whether to ask again. */
  async #look() {
    const token = this.#token();
    if (document.hidden || token === this.#refused) return true;
    /** @type {Record<string, string>} */
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    const answer = await fetch("channels", { headers, cache: "no-store", signal: AbortSignal.timeout(EVERY_MS) });
    if (answer.status === 204) return false;
    this.#refused = answer.status === 401 ? token : null;
    if (answer.ok) this.#show((await answer.json()).channels);
    return true;
  }

  /** @param {Channel[]} channels */
  #show(channels) {
    element("channels").hidden = false;
    write("channels-none", channels.length === 0 ? "Nobody is live." : "");
    const list = element("channels-list");
    const focused = document.activeElement?.getAttribute("data-channel");
    list.replaceChildren(...channels.map((each) => this.#line(each)));
    // A list that is written anew must not take the place of who goes through it.
    if (focused) [...list.querySelectorAll("a")].find((link) => link.dataset.channel === focused)?.focus();
  }

  /** @param {Channel} channel */
  #line({ name, viewers }) {
    const link = document.createElement("a");
    link.href = `?channel=${encodeURIComponent(name)}`;
    link.textContent = name;
    link.dataset.channel = name;
    if (name === this.#channel) link.setAttribute("aria-current", "page");
    const count = document.createElement("span");
    count.textContent = viewerWords(viewers);
    const line = document.createElement("li");
    line.append(link, " ", count);
    return line;
  }
}
