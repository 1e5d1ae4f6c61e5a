/**
 * Follows a session's events wherever it is. Where it is looked for, rekindle-nodes.js decides. It is loaded when a server names others.
 *
 * @module
 */

import { ASIDE_MS, Nodes, answerTime } from "./rekindle-nodes.js";

/** @import { Feed, Followed, Follower } from "./rekindle-events.js" */
/** @import { Listener, Listening } from "./rekindle-feed.js" */

/** Interval in ms between checks whether media comes while the event stream is gone: two before another place is asked. */
const COMES_MS = 130;
/** A host that is gone closes no stream, but its media stops. How long a silence is suspicious, and up to half as long again, so that a crowd does not ask at once. */
const SUSPECT_MS = 500;
/** A look at a server that does not answer ends within this time. */
const LOOK_MS = 3000;

const now = () => performance.now();

/** @typedef {{ rtt: number, isSilent: () => Promise<boolean>, sure: boolean }} Own what is known of a server that says nothing */

/**
 * Follows a session's events, wherever it is, from the place where it began and is followed already.
 *
 * @param {Followed & { location: URL }} join
 * @param {import("./rekindle-signalling.js").Signalling} signalling
 * @param {Listener} follower
 * @param {object} began
 * @param {typeof import("./rekindle-events.js").follow} began.follow
 * @param {(follower: Follower) => Feed} began.takes who hears what is heard at that place from now on, and what is in hand there
 * @param {typeof import("./rekindle-watch.js").watch} began.watch
 * @param {typeof import("./rekindle-statistics.js").received} began.received
 * @param {import("./rekindle-signalling.js").Data} [began.hello] how the server there has greeted us; it names others
 * @param {boolean} [began.isLost] its stream has ended since
 * @returns {Listening}
 */
export function search(join, signalling, follower, { follow, takes, watch, received, hello, isLost = false }) {
  const home = new URL("..", join.location).href;
  const nodes = new Nodes(home);
  /** @type {Map<string, Feed>} */
  const feeds = new Map();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let doubting;
  let lookedAt = -Infinity;
  /** What is in hand at the first place is used once. */
  let isTaken = false;
  /** The doubt whether the server is there, while there is one. @type {Own | null} */
  let doubt = null;
  /** Silence is watched for. */
  let listens = false;
  let isViewer = hello?.role === "viewer";

  const stop = () => {
    clearTimeout(timer);
    clearTimeout(doubting);
    doubt = null;
    for (const feed of feeds.values()) feed("stop");
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
      feed("stop");
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
        follower.down(true, false);
      }
      isOver();
    };
    return begin(place, there, {
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
      down: (first, refused) => {
        if (place !== nodes.here || !feeds.has(place)) return;
        const silent = now() - lookedAt < LOOK_MS;
        if (first) nodes.lost(now(), silent, doubt?.sure === true);
        follower.down(first, refused);
        if (!first) return;
        assess();
        if (doubt && silent && !doubt.sure) compare((doubt = { ...doubt }));
      },
      unknown: () => feeds.has(place) && lacks(),
    });
  };

  /** @param {string} place @param {Followed} there @param {Follower} hears */
  const begin = (place, there, hears) => {
    if (isTaken || place !== home) return follow(there, signalling, hears);
    isTaken = true;
    return takes(hears);
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
    if (isThere) feeds.get(here)?.("retry");
    else if (nodes.since === null) feeds.get(here)?.("giveUp");
    else nodes.isGone(now());
    assess();
  };

  /** The server is asked whether it is there. @param {number} rtt @param {() => Promise<boolean>} [isSilent] */
  const look = (rtt, isSilent = async () => true) => {
    lookedAt = now();
    const own = (doubt = { rtt, isSilent, sure: false });
    feeds.get(nodes.here)?.("look");
    clearTimeout(doubting);
    doubting = setTimeout(compare, ASIDE_MS, own);
  };

  assess();
  if (hello) {
    nodes.named(hello.nodes);
    nodes.spread = hello.spread_ms ?? 0;
    const live = hello.live ?? hello.source;
    if (isLost) nodes.lost(now(), false, false);
    else if (isViewer && live !== undefined) nodes.hears(live, now());
    assess();
  }
  return {
    watchMedia: (pc, isOver) => {
      if (!nodes.hasOthers) return;
      // What was on its way when the server died has arrived by the first look.
      watch(pc, COMES_MS, isOver, (before, after) => {
        if (after.bytes <= before.bytes) return;
        nodes.answers(now(), true);
        assess();
      });
    },
    watchSilence: async (pc, { isOver, isExcused, rtt }) => {
      if (listens || !nodes.hasOthers) return;
      listens = true;
      const patience = SUSPECT_MS * (1 + Math.random() / 2);
      // From the first look on; once it has been told of, it is told of again only after something has come.
      let since = now() + SUSPECT_MS / 2;
      await watch(pc, SUSPECT_MS / 2, () => isOver() || !nodes.hasOthers, (before, after) => {
        if (after.bytes !== before.bytes || (since < Infinity && isExcused())) since = now();
        if (now() - since < patience) return;
        since = Infinity;
        look(rtt(), async () => (await received(pc).catch(() => after)).bytes === after.bytes);
      });
      listens = false;
    },
    look,
    get hasOthers() {
      return nodes.hasOthers;
    },
    nudge: () => feeds.forEach((feed) => feed("nudge")),
    stop,
  };
}
