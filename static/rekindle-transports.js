/**
 * The transports that a connection's media uses: whether they are up, and how often they have come up.
 *
 * @module
 */

import { isConnected } from "./rekindle-statistics.js";
import { pause } from "./rekindle-time.js";

/** How long a transport may report that it is not connected while the connection is, in ms; after that it is not believed. */
const UNTOLD_MS = 150;

/** States of ICE in which no check is answered, and those of them in which none is sent. @type {string[]} */
const DOWN = ["disconnected", "failed", "closed"];
/** @type {string[]} */
const ENDED = ["failed", "closed"];

export class Transports {
  pc;
  /** The transceivers that carry media. @type {RTCRtpTransceiver[]} */
  transceivers = [];
  /** Nobody needs the connection any more. */
  ended = false;
  /** How often DTLS has come up. */
  handshakes = 0;
  /** DTLS has begun again. Set it to false to learn of the next time. */
  restarted = false;
  /** Called when a state changed. */
  changed;

  /** @type {Set<RTCDtlsTransport>} */
  #known = new Set();
  /** Those that are connected and do not say so: see {@link Transports.#mind}. @type {Set<RTCDtlsTransport>} */
  #untold = new Set();

  /** @param {RTCPeerConnection} pc @param {() => void} changed */
  constructor(pc, changed) {
    this.pc = pc;
    this.changed = changed;
    pc.addEventListener("connectionstatechange", () => {
      changed();
      this.#mind().catch(() => {});
    });
    pc.addEventListener("iceconnectionstatechange", () => changed());
  }

  /** Those that there are now. */
  get transports() {
    const transports = this.transceivers.flatMap(({ sender, receiver }) => [sender.transport, receiver.transport]);
    return [...new Set(transports)].filter((transport) => !!transport);
  }

  get connected() {
    const { transports } = this;
    if (transports.length === 0) return this.pc.connectionState === "connected";
    return !this.iceIsDown && transports.every((transport) => this.#isUp(transport));
  }

  /** A handshake has failed: nothing more comes of it. */
  get broken() {
    return this.transports.some(({ state }) => state === "failed");
  }

  get iceIsDown() {
    return this.#iceIsIn(DOWN);
  }

  /** ICE has given up. Before, when a check went unanswered, media goes on in both directions. */
  get iceHasFailed() {
    return this.#iceIsIn(ENDED);
  }

  /**
   * Media goes over TCP (RFC 6544). Chromium opens a connection that has ended once more, and where that is refused, since no server runs yet, never
   * again; an ICE restart makes new ones.
   */
  get usesTcp() {
    return this.transports.some(({ iceTransport }) => iceTransport?.getSelectedCandidatePair?.()?.remote?.protocol === "tcp");
  }

  /** Observes those that are new. */
  observe() {
    for (const transport of this.transports) {
      if (this.#known.has(transport)) continue;
      this.#known.add(transport);
      const look = () => {
        this.#untold.delete(transport);
        if (transport.state === "new") this.restarted = true;
        if (transport.state === "connected") this.handshakes += 1;
        if (transport.state === "closed") this.#known.delete(transport);
        this.changed();
      };
      transport.addEventListener("statechange", look);
      if (transport.state === "connected") look();
    }
  }

  /** Whether a transport's is in one of these states; a browser may not say. @param {string[]} states */
  #iceIsIn(states) {
    const { transports } = this;
    if (transports.length > 0) return transports.some(({ iceTransport }) => states.includes(iceTransport?.state));
    return this.pc.connectionState === "failed" || states.includes(this.pc.iceConnectionState);
  }

  /** @param {RTCDtlsTransport} transport */
  #isUp(transport) {
    return transport.state === "connected" || this.#untold.has(transport);
  }

  /**
   * Chromium loses the news that a transport is connected where that comes while it makes the object (one of some hundred connections, when
   * fifty begin at once), and calls it "connecting" until it has other news. The connection's own state is right, and so are statistics.
   */
  async #mind() {
    if (this.pc.connectionState !== "connected") return;
    await pause(UNTOLD_MS);
    const isUntold = () => !this.ended && this.pc.connectionState === "connected" && this.transports.some((transport) => !this.#isUp(transport));
    if (!isUntold() || !(await isConnected(this.pc)) || !isUntold()) return;
    for (const transport of this.transports) this.#untold.add(transport);
    this.handshakes += 1;
    this.changed();
  }
}
