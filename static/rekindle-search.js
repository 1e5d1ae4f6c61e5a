/**
 * Follows a session's events wherever it is. Where it is looked for, rekindle-nodes.js decides.
 *
 * @module
 */

import { follow } from "./rekindle-events.js";
import { ASIDE_MS, Nodes, answerTime } from "./rekindle-nodes.js";

/** @import { Feed, Followed, Follower } from "./rekindle-events.js" */

/** A look at a server that does not answer ends within this time. */
const LOOK_MS = 3000;

const now = () => performance.now();

/**
 * What a session hears besides.
 *
 * @typedef {object} Elsewhere
 * @property {(location: URL, from: string, to: string, alive: boolean) => void} moved it is at another place: its URL there, what the
 *   paths of both begin with, and whether the server before is there still
 * @property {(place: string) => void} unknown nobody has it; a new one is to be made at this place
 *
 * @typedef {{ rtt: number, isSilent: () => Promise<boolean>, sure: boolean }} Own what is known of a server that says nothing
 */

/**
 * Follows a session's events, from the place where it began.
 *
 * @param {Followed & { location: URL }} join
 * @param {import("./rekindle-signalling.js").Signalling} signalling
 * @param {Omit<Follower, "unknown" | "answers"> & Elsewhere} follower
 * @returns {Pick<Feed, "nudge" | "stop"> & { hasOthers: boolean, plays: () => void, look: (rtt: number, isSilent?: () => Promise<boolean>) => void }} whether it may be
 *   anywhere else; media comes from where it was; and sees whether the server is there, to which the round trip is so long, and from which nothing comes
 */
export function search(join, signalling, follower) {
  const home = new URL("..", join.location).href;
  const nodes = new Nodes(home);
  /** @type {Map<string, Feed>} */
  const feeds = new Map();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let doubting;
  let lookedAt = -Infinity;
  /** The doubt whether the server is there, while there is one. @type {Own | null} */
  let doubt = null;
  let isViewer = false;

  const stop = () => {
    clearTimeout(timer);
    clearTimeout(doubting);
    doubt = null;
    for (const feed of feeds.values()) feed.stop();
    feeds.clear();
  };

  /** What each place is asked is what is due. */
  const assess = () => {
    clearTimeout(timer);
    const at = now();
    const asked = nodes.asked(at);
    for (const [place, feed] of feeds) {
      if (asked.includes(place)) continue;
      feeds.delete(place);
      feed.stop();
    }
    for (const place of asked) if (!feeds.has(place)) feeds.set(place, ask(place));
    const next = nodes.lookAgainAt(at);
    if (next < Infinity) timer = setTimeout(isOver, next - at + 1);
  };

  const isOver = () => {
    const place = nodes.givesUp(now());
    if (place === null) return assess();
    stop();
    follower.unknown(place);
  };

  /** @param {string} place */
  const ask = (place) => {
    /** @type {Followed} */
    const there = place === home ? join : { id: join.id, events: new URL(`session/${join.id}/events`, place), shared: new URL("events", place) };
    const lacks = () => {
      const isNews = nodes.since === null && place === nodes.here;
      nodes.lacks(place, now());
      if (isNews && nodes.givesUp(now()) === null) {
        follower.closed(false);
        follower.lost();
      }
      isOver();
    };
    return follow(there, signalling, {
      heard: (event, data) => {
        if (!feeds.has(place)) return;
        if (event === "gone" && data.reason === "unknown-session") return lacks();
        const live = data.source ?? data.live;
        if (event === "hello") {
          if (data.role === "viewer") isViewer = true;
          const [from, alive] = [nodes.here, nodes.answered];
          if (from !== place && !nodes.wants(live === true)) {
            nodes.lacks(place, now());
            return assess();
          }
          lookedAt = -Infinity;
          nodes.found(place, data.nodes);
          if (from !== place) follower.moved(new URL(`session/${join.id}`, place), from, place, alive);
        }
        if (place !== nodes.here) return;
        doubt = null;
        if (event === "nodes") nodes.named(data.nodes);
        nodes.spread = data.spread_ms ?? nodes.spread;
        if (isViewer && live !== undefined) nodes.hears(live, now());
        assess();
        follower.heard(event, data);
      },
      answers: () => {
        if (place === nodes.here) doubt = null;
        if (place !== nodes.here || nodes.since === null) return;
        nodes.answers(now());
        assess();
      },
      closed: (refused) => place === nodes.here && feeds.has(place) && follower.closed(refused),
      lost: () => {
        if (place !== nodes.here || !feeds.has(place)) return;
        const silent = now() - lookedAt < LOOK_MS;
        nodes.lost(now(), silent, doubt?.sure === true);
        follower.lost();
        assess();
        if (doubt && silent && !doubt.sure) compare((doubt = { ...doubt }));
      },
      unknown: () => feeds.has(place) && lacks(),
    });
  };

  /**
   * The server says nothing. Once another place does, so that the way is open, it is asked again.
   *
   * @param {Own} own
   */
  const compare = async (own) => {
    const isDone = () => doubt !== own;
    const { here, other } = nodes;
    if (isDone() || other === undefined || !(await signalling.reaches(other)) || isDone()) return;
    /** @type {Promise<boolean>} */
    const late = new Promise((resolve) => setTimeout(resolve, answerTime(own.rtt), false));
    // Where a connection's first packet was lost, its media is back sooner than its answer.
    const isThere = (await Promise.race([signalling.reaches(here), late])) || !(await own.isSilent());
    if (isDone()) return;
    own.sure = !isThere;
    // What was asked while the way was not open may wait for long.
    if (isThere) feeds.get(here)?.retry();
    else if (nodes.since === null) feeds.get(here)?.giveUp();
    else nodes.isGone(now());
    assess();
  };

  /** The server is asked whether it is there. @param {number} rtt @param {() => Promise<boolean>} [isSilent] */
  const look = (rtt, isSilent = async () => true) => {
    lookedAt = now();
    const own = (doubt = { rtt, isSilent, sure: false });
    feeds.get(nodes.here)?.look();
    clearTimeout(doubting);
    doubting = setTimeout(compare, ASIDE_MS, own);
  };

  assess();
  return {
    plays: () => {
      nodes.answers(now(), true);
      assess();
    },
    look,
    get hasOthers() {
      return nodes.hasOthers;
    },
    nudge: () => feeds.forEach((feed) => feed.nudge()),
    stop,
  };
}
