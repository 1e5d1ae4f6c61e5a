/**
 * Follows a session's events: at its server, until that names others, and from there on wherever it is (rekindle-search.js, which is loaded then).
 *
 * @module
 */

import { follow } from "./rekindle-events.js";

/** @import { Followed, Follower } from "./rekindle-events.js" */

/**
 * What a session hears.
 *
 * @typedef {object} Elsewhere
 * @property {(location: URL, from: string, to: string, alive: boolean) => void} moved it is at another place: its URL there, what the
 *   paths of both begin with, and whether the server before is there still
 * @property {(place: string) => void} unknown nobody has it; a new one is to be made at this place
 * @property {() => void} [others] it may be at another place from now on
 *
 * @typedef {Omit<Follower, "unknown" | "answers"> & Elsewhere} Listener
 *
 * @typedef {object} Listening what it has in hand
 * @property {boolean} hasOthers it may be anywhere else
 * @property {() => void} plays media comes from where it was
 * @property {(rtt: number, isSilent?: () => Promise<boolean>) => void} look sees whether the server is there, to which the round trip is so long, and from which nothing comes
 * @property {() => void} nudge something has happened that makes trying again worth while
 * @property {() => void} stop
 */

/**
 * Follows a session's events, from the place where it began.
 *
 * @param {Followed & { location: URL }} join
 * @param {import("./rekindle-signalling.js").Signalling} signalling
 * @param {Listener} listener
 * @returns {Listening}
 */
export function listen(join, signalling, listener) {
  const unknown = () => listener.unknown(new URL("..", join.location).href);
  /** @type {Listening | null} */
  let elsewhere = null;
  /** How the server has greeted us, with what it has said since. @type {import("./rekindle-signalling.js").Data} */
  let hello = {};
  let isLost = false;
  let isLoading = false;
  let isOver = false;

  const load = async () => {
    if (isLoading) return;
    isLoading = true;
    try {
      const { search } = await import("./rekindle-search.js");
      if (isOver) return;
      const takes = (/** @type {Follower} */ follower) => {
        hears = follower;
        return feed;
      };
      elsewhere = search(join, signalling, listener, { follow, takes, hello, isLost });
      listener.others?.();
    } catch {
      // Where it cannot be had now, the next word of others tries again.
    } finally {
      isLoading = false;
    }
  };

  /** @type {Follower} */
  let hears = {
    heard: (event, data) => {
      if (event === "gone" && data.reason === "unknown-session") return unknown();
      if (event === "hello") isLost = false;
      hello = event === "hello" ? data : { ...hello, ...data };
      if ((hello.nodes ?? []).length > 0) load();
      listener.heard(event, data);
    },
    lost: () => {
      isLost = true;
      listener.lost();
    },
    closed: (refused) => listener.closed(refused),
    answers: () => {},
    unknown,
  };
  // Who hears it changes when others are named.
  const feed = follow(join, signalling, {
    heard: (event, data) => hears.heard(event, data),
    lost: () => hears.lost(),
    closed: (refused) => hears.closed(refused),
    answers: () => hears.answers(),
    unknown: () => hears.unknown(),
  });
  return {
    get hasOthers() {
      return elsewhere?.hasOthers === true;
    },
    plays: () => elsewhere?.plays(),
    look: (rtt, isSilent) => (elsewhere ? elsewhere.look(rtt, isSilent) : feed.look()),
    nudge: () => (elsewhere ?? feed).nudge(),
    stop: () => {
      isOver = true;
      (elsewhere ?? feed).stop();
    },
  };
}
