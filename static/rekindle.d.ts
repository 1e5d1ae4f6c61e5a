/**
 * Types of rekindle.js: publish to, or watch, a rekindle server, and keep the same RTCPeerConnection when the server dies and comes back.
 */

export interface Options {
  /** Bearer token. */
  token?: string;
  /** Used in place of the global one. A session that has it follows its events by a stream of its own. */
  fetch?: typeof fetch;
  /** Closes the session. */
  signal?: AbortSignal;
  /**
   * Viewers: how long media is kept back, in ms, so that a restart does not show (default "auto": 100 to 500 ms by the round trip). It is so
   * much more delay: 0 is for conversations.
   */
  cushion?: "auto" | number;
  /**
   * Leave when the page goes away (default true): the session is then "closed" with the reason "pagehide". A page that comes back from the
   * browser's cache (`pageshow` with `persisted`) makes a new one; `<rekindle-player>` does so by itself.
   */
  leaveOnPagehide?: boolean;
  /** STUN and TURN servers, for networks that let nothing through to the server's media port. The server itself needs none. */
  iceServers?: RTCIceServer[];
  /** What else the constructor of RTCPeerConnection takes. `bundlePolicy` stays "max-bundle": renewing keys needs one transport. */
  rtc?: Omit<RTCConfiguration, "bundlePolicy" | "iceServers">;
}

export type State =
  /** Joining for the first time. */
  | "connecting"
  /** Nobody publishes on this channel yet. */
  | "waiting"
  | "connected"
  /** The server cannot be reached; others that it has named are asked too. */
  | "server-gone"
  /** The server is back, and keys are being renewed. */
  | "renewing"
  /** The connection could not be kept, and a new one is being made. */
  | "reconnecting"
  | "failed"
  | "closed";

/** How the keys of media were agreed on. */
export interface Keys {
  /** The version, such as "DTLS 1.3". */
  dtls: string;
  /** The key exchange, such as "X25519MLKEM768". */
  group: string;
  /** The cipher, such as "AES-256-GCM". */
  srtp: string;
  /** A quantum computer of the future cannot undo the key exchange. */
  post_quantum: boolean;
}

export interface SessionEvents {
  /** What {@link Session.state} is now. `reason` says why, where more than one thing leads to it. */
  state: CustomEvent<{ state: State; previous: State; reason?: string; took_ms?: number }>;
  /** The server has come back as another process, or another one has the session, and media flows again on the same connection. */
  restart: CustomEvent<{ boot: number; took_ms: number; renewed: boolean }>;
  /** Viewers: a track to show. */
  track: CustomEvent<{ track: MediaStreamTrack; stream: MediaStream }>;
  /** Viewers: the publisher came or went. */
  source: CustomEvent<{ live: boolean }>;
  /** A new connection had to be made and has taken over: a viewer shows its stream from now on. */
  replaced: CustomEvent<{ pc: RTCPeerConnection; stream: MediaStream; reason: string | null }>;
  /** The server has been asked for media and has heard nothing of this browser over UDP for 8 s, or now has. */
  unheard: CustomEvent<{ unheard: boolean }>;
  /** How the keys in use were agreed on, when that is told for the first time or anew. */
  keys: CustomEvent<Keys>;
  /**
   * The session cannot go on; its state is "failed". `status` is the HTTP status, where the server said no.
   * - `channel-taken`: somebody else publishes on the channel, or has taken it over
   * - `refused`: the server said no; with 401 it wants a token, or another one
   * - `join`: the browser could not make a connection or load what it takes, or something on the way took a header of the answer away
   */
  error: CustomEvent<{ reason: "channel-taken" | "refused" | "join"; message: string; status?: number }>;
}

/** A session with the server, for as long as the page wants it. */
export class Session extends EventTarget {
  private constructor();
  readonly pc: RTCPeerConnection | null;
  /** What is received (viewers) or sent (publishers). */
  readonly stream: MediaStream | null;
  readonly state: State;
  /** Which life of the server this session last heard of. */
  readonly boot: number | null;
  /** How many restarts of the server, or moves to another one, were survived on one and the same connection. */
  readonly restarts: number;
  /** How many times a new connection had to be made. */
  readonly replacements: number;
  /** Viewers: whether a publisher is there; null while that is not known. */
  readonly live: boolean | null;
  /** Nothing of this browser's gets through to the server's media port, as far as is known. */
  readonly unheard: boolean;
  /** How the keys in use were agreed on, as the server tells it. */
  readonly keys: Keys | null;
  /** Viewers: see {@link Options.cushion}. Read, it is the present length in ms; null where the browser has its own way. */
  get cushion(): number | null;
  set cushion(wanted: "auto" | number);
  /**
   * Publishers: sends this track in place of the one of its kind, now and on later connections, and puts it into {@link stream}. Viewers keep
   * their connection. The track that was sent goes on; stop it where it is not needed.
   * @throws TypeError for a viewer
   */
  replaceTrack(track: MediaStreamTrack): Promise<void>;
  /** Leaves: tells the server, closes the connection. */
  close(): void;
  addEventListener<K extends keyof SessionEvents>(
    type: K,
    listener: (event: SessionEvents[K]) => void,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(type: string, listener: EventListenerOrEventListenerObject | null, options?: boolean | AddEventListenerOptions): void;
  removeEventListener<K extends keyof SessionEvents>(
    type: K,
    listener: (event: SessionEvents[K]) => void,
    options?: boolean | EventListenerOptions,
  ): void;
  removeEventListener(type: string, listener: EventListenerOrEventListenerObject | null, options?: boolean | EventListenerOptions): void;
}

/**
 * Publishes a stream.
 * @param url the WHIP endpoint, for example `/whip/main`
 * @param source a stream, or tracks of one's own; at most one audio and one video track of it are sent
 * @throws TypeError for an option that there is not
 */
export function publish(url: string | URL, source: MediaStream | MediaStreamTrack[], options?: Options): Session;

/**
 * Watches a channel.
 * @param url the WHEP endpoint, for example `/whep/main`
 * @throws TypeError for an option that there is not
 */
export function watch(url: string | URL, options?: Options): Session;
