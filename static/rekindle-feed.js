/**
 * Follows a session's events: at its server, until that names others, and from there on wherever it is (rekindle-search.js, which is loaded then).
 *
 * @module
 */

import { follow } from "./rekindle-events.js";
import { received } from "./rekindle-statistics.js";
import { watch } from "./rekindle-watch.js";

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
 * @property {(pc: RTCPeerConnection, isOver: () => boolean) => void} [watchMedia] watches a connection whose event stream is gone. While media comes the
 *   server is there, whatever is wrong with the stream
 * @property {(pc: RTCPeerConnection, how: { isOver: () => boolean, isExcused: () => boolean, rtt: () => number }) => void} [watchSilence] watches a connection that
 *   media should come on, or news of what is sent: where there is somewhere else to go, a host that is gone is noticed by the silence
 * @property {(rtt: number, isSilent?: () => Promise<boolean>) => void} look sees whether the server is there, to which the round trip is so long, and from which nothing comes
 * @property {() => void} nudge something has happened that makes trying again worth while
 * @property {() => void} stop
 */

/**
 * Follows a session's events, from the place where it began. Returns what gives what is in hand at present.
 *
 * @param {Followed & { location: URL }} join
 * @param {import("./rekindle-signalling.js").Signalling} signalling
 * @param {Listener} listener
 * @returns {() => Listening}
 */
export function listen(join, signalling, listener) {
  const unknown = () => listener.unknown(new URL("..", join.location).href);
  /** How the server has greeted us, with what it has said since. @type {import("./rekindle-signalling.js").Data} */
  let hello = {};
  let isLost = false;
  let isOver = false;
  /** @type {Promise<void> | null} */
  let loading = null;

  const load = async () => {
    const { search } = await import("./rekindle-search.js");
    if (isOver) return;
    const takes = (/** @type {Follower} */ follower) => {
      Object.assign(hears, follower);
      return feed;
    };
    listening = search(join, signalling, listener, { follow, takes, watch, received, hello, isLost });
    listener.others?.();
  };

  /** Who hears it, changes when others are named. @type {Follower} */
  const hears = {
    heard: (event, data) => {
      if (event === "gone" && data.reason === "unknown-session") return unknown();
      if (event === "hello") isLost = false;
      hello = event === "hello" ? data : { ...hello, ...data };
      // Where it cannot be had now, the next word of others tries again.
      if (hello.nodes?.[0]) loading ??= load().catch(() => void (loading = null));
      listener.heard(event, data);
    },
    down: (first, refused) => {
      isLost ||= first;
      listener.down(first, refused);
    },
    answers: () => {},
    unknown,
  };
  const feed = follow(join, signalling, hears);
  /** @type {Listening} */
  let listening = {
    hasOthers: false,
    look: () => feed("look"),
    nudge: () => feed("nudge"),
    stop: () => {
      isOver = true;
      feed("stop");
    },
  };
  return () => listening;
}
