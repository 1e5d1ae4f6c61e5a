/**
 * How Firefox is made to run DTLS again: see rekindle-description.js. It is loaded in that browser only, and where the other way has not worked.
 *
 * @module
 */

const SECTION = /^(?=m=)/m;
const BUNDLE = /^a=group:BUNDLE ([^\r\n]*)/m;

/** How long a browser may take to learn its own addresses, in ms. */
const GATHER_MS = 300;

/** A section's mid; every section that a browser makes has one. @param {string} section */
const midOf = (section) => /^a=mid:([^\r\n]*)/m.exec(section)?.[1]?.trim() ?? "";

/** What is before the first section, and the sections. @param {string} sdp @returns {[head: string, ...sections: string[]]} */
function split(sdp) {
  const [head = "", ...sections] = sdp.split(SECTION);
  return [head, ...sections];
}

/** The mids of a description's BUNDLE group, its owner first. @param {string} sdp @returns {string[]} */
export function bundled(sdp) {
  return BUNDLE.exec(sdp)?.[1]?.trim().split(" ") ?? [];
}

/** The description with these mids as its BUNDLE group. @param {string} sdp @param {string[]} mids */
export function grouped(sdp, mids) {
  return sdp.replace(BUNDLE, `a=group:BUNDLE ${mids.join(" ")}`);
}

/**
 * Takes sections out of an offer, for the server. The first that is left then stands for the transport, which all describe alike.
 *
 * @param {string} offer
 * @param {string[]} mids
 * @returns {string}
 */
export function without(offer, mids) {
  const [head, ...sections] = split(offer);
  const [first = "", ...others] = sections.filter((section) => !mids.includes(midOf(section)));
  const own = first.replace(/^m=(\w+) 0 /, "m=$1 9 ").replace(/^a=bundle-only\r?\n/m, "");
  const group = bundled(head).filter((mid) => !mids.includes(mid));
  return [grouped(head, group), own, ...others].join("");
}

/**
 * Puts the sections that the server was not shown into its answer: on the same transport, carrying nothing.
 *
 * @param {string} answer the server's
 * @param {string} offer the browser's, with those sections
 * @param {string[]} mids
 * @returns {string}
 */
export function withParking(answer, offer, mids) {
  const [head, ...agreed] = split(answer);
  const transport = (agreed[0]?.match(/^a=(?:ice-ufrag|ice-pwd|fingerprint|setup|candidate|end-of-candidates)\b[^\n]*\n/gm) ?? []).join("");
  const [, ...own] = split(offer);
  const sections = own.map((section) => {
    const mid = midOf(section);
    if (!mids.includes(mid)) return agreed.shift() ?? "";
    const [, kind, proto, format] = /^m=(\w+) \d+ (\S+) (\d+)/.exec(section) ?? [];
    const codec = section.match(new RegExp(`^a=rtpmap:${format} [^\n]*\n`, "m"))?.[0] ?? "";
    const lines = [`m=${kind} 9 ${proto} ${format}`, "c=IN IP4 0.0.0.0", `a=mid:${mid}`, "a=inactive", "a=rtcp-mux", ""];
    return `${lines.join("\r\n")}${transport}${codec}`;
  });
  const group = sections.map(midOf).filter((mid) => mids.includes(mid) || bundled(head).includes(mid));
  return [grouped(head, group), ...sections].join("");
}

/** The sections of a connection that take turns as the owner of its BUNDLE group. */
export class Parking {
  /** The one that is not the owner still holds the transport from before the last renewal. */
  held = false;
  #pc;
  /** @type {RTCRtpTransceiver[]} */
  #sections = [];
  /** Which of them is the owner. */
  #owner = 0;

  /** @param {RTCPeerConnection} pc */
  constructor(pc) {
    this.#pc = pc;
  }

  /** One is made before those of the media, so that it owns the group from the start, and one after them. */
  park() {
    this.#sections.push(this.#pc.addTransceiver("audio", { direction: "inactive" }));
  }

  /** They have mids as soon as there is an offer. */
  get #mids() {
    return this.#sections.map(({ mid }) => mid ?? "");
  }

  /** The offer as the server is shown it. @param {string} offer */
  shown(offer) {
    return without(offer, this.#mids);
  }

  /** The server's answer as the browser is given it. @param {string} answer @param {string} offer */
  completed(answer, offer) {
    return withParking(answer, offer, this.#mids);
  }

  /** The other one is the owner from now on. */
  turn() {
    this.#owner = 1 - this.#owner;
    this.held = true;
  }

  /** That has not come to pass. */
  turnBack() {
    this.#owner = 1 - this.#owner;
    this.held = false;
  }

  /** A description with the group as it is now. The section that holds the old transport is not in it. @param {string} sdp */
  regrouped(sdp) {
    const mids = this.#mids;
    const [owner = "", other = ""] = [mids[this.#owner], mids[1 - this.#owner]];
    const media = bundled(sdp).filter((mid) => !mids.includes(mid));
    return grouped(sdp, this.held ? [owner, ...media] : [owner, ...media, other]);
  }

  /**
   * The browser's own addresses are others. It uses the same ones for all transports of a connection, and asks for them anew when it makes an
   * offer that restarts ICE: that one is taken back again.
   */
  async gather() {
    const pc = this.#pc;
    await pc.setLocalDescription(await pc.createOffer({ iceRestart: true }));
    await gathered(pc);
    await pc.setLocalDescription({ type: "rollback" });
  }
}

/**
 * Has encoders begin with a key frame by starting them after they have been stopped, since this browser cannot be asked for one.
 *
 * @param {import("./rekindle-encoders.js").Encoders} encoders
 */
export function stopping(encoders) {
  /** Which encodings were active before they were stopped; null while they are not. @type {boolean[] | null} */
  let running = null;
  encoders.stops = true;
  encoders.hold = () =>
    encoders.change(({ encodings }) => {
      encoders.held = true;
      running ??= encodings.map(({ active = true }) => active);
      for (const encoding of encodings) encoding.active = false;
    });
  encoders.refresh = async () => {
    if (!encoders.held) await encoders.hold();
    await encoders.change(({ encodings }) => encodings.forEach((encoding, i) => (encoding.active = running?.[i] ?? true)));
    running = null;
    encoders.held = false;
  };
}

/** Waits until a browser has gathered its addresses, but not for long. @param {RTCPeerConnection} pc @returns {Promise<void>} */
function gathered(pc) {
  return new Promise((resolve) => {
    const look = () => pc.iceGatheringState === "complete" && resolve();
    pc.addEventListener("icegatheringstatechange", look);
    setTimeout(() => {
      pc.removeEventListener("icegatheringstatechange", look);
      resolve();
    }, GATHER_MS);
  });
}
