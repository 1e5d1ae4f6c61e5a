/**
 * The publisher's camera and microphone: how they are opened, why that fails, and what viewers see when one of them is lost.
 *
 * @module
 */

/** What is published. @typedef {"audio" | "video"} Kind */

/** Nothing of this must be so: a camera that cannot do it gives what it can. */
const WISHES = { audio: true, video: { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30 } } };
/** Browsers mute a track for a moment at times; one that is silent for so long is told of, in ms. */
const MUTED_MS = 3000;
/** @type {Kind[]} */
const KINDS = ["video", "audio"];
/** @type {{ video: "camera", audio: "microphone" }} */
const NAMES = { video: "camera", audio: "microphone" };

/**
 * What is wrong, by what a publisher has lost; the second text is for a publisher that has nothing else.
 *
 * @type {Record<Kind | "both", { ended: string, muted: string, text: string, only?: string }>}
 */
const LOST = {
  video: { ended: "Your camera is gone", muted: "Your camera gives no picture", text: "Viewers see no picture any more; they still hear you.", only: "Viewers see nothing any more." },
  audio: { ended: "Your microphone is gone", muted: "Your microphone gives no sound", text: "Viewers see you, but hear nothing any more.", only: "Viewers hear nothing any more." },
  both: { ended: "Camera and microphone are gone", muted: "Camera and microphone give nothing", text: "Viewers see and hear nothing any more." },
};
const TRY = {
  ended: "Connect it, or allow it again, and try again.",
  muted: "Another program may have taken it, or a switch or a cover turns it off.",
};

/**
 * What each error of `getUserMedia` means (Media Capture and Streams §10.2), and what can be done.
 *
 * @type {Record<string, [title: string, text: string]>}
 */
const TROUBLE = {
  NotAllowedError: ["The camera was not allowed", "Allow this page to use camera and microphone, at the sign beside the address, and try again. The system's own settings must allow the browser to use them too."],
  NotFoundError: ["No camera and no microphone was found", "Connect a camera or a microphone, and try again."],
  NotReadableError: ["The camera cannot be used at the moment", "Another program or page probably uses the camera or the microphone. Close that one, and try again."],
  OverconstrainedError: ["No camera can do what was asked for", "None that was found gives such a picture or sound. Choose another one in the browser's settings, and try again."],
  AbortError: ["The camera did not start", "It is there and allowed, but something kept the browser from starting it. Connect it anew or start the browser anew, and try again."],
  SecurityError: ["The browser gives no camera to any page", "Its settings forbid camera and microphone. Change them, or take another browser."],
};

const INSECURE = {
  title: "Browsers give no camera to this address",
  text: "They do so only where the address begins with https:// or is of this computer itself (localhost). Open this page under such an address; watching works here too.",
};
const INCAPABLE = { title: "This browser has no camera for pages", text: "Take another browser to publish. Watching works in this one too." };

/** @param {MediaStreamTrack} track */
const kindOf = (track) => /** @type {Kind} */ (track.kind);

const unavailable = () => !navigator.mediaDevices?.getUserMedia;

/** The words for an error of {@link Camera.open}. @param {unknown} error @returns {{ title: string, text: string }} */
export function cameraTrouble(error) {
  if (unavailable()) return globalThis.isSecureContext ? INCAPABLE : INSECURE;
  const { name, message } = /** @type {Error} */ (error);
  const [title, text] = TROUBLE[name] ?? ["The camera could not be opened", `The browser says: ${message || name}.`];
  return { title, text };
}

/** @param {unknown} error @param {string} name */
const isCalled = (error, name) => /** @type {Error} */ (error).name === name;

/** Asks for these kinds; where one is not there, for the other alone. @param {Kind[]} kinds */
async function capture(kinds) {
  if (unavailable()) throw new DOMException("no media devices", "NotSupportedError");
  /** @param {Kind[]} wanted @param {MediaStreamConstraints} wishes */
  const get = (wanted, wishes) => navigator.mediaDevices.getUserMedia(Object.fromEntries(wanted.map((kind) => [kind, wishes[kind]])));
  try {
    return await get(kinds, WISHES);
  } catch (error) {
    if (isCalled(error, "OverconstrainedError")) return get(kinds, { audio: true, video: true });
    if (!isCalled(error, "NotFoundError") || kinds.length < 2) throw error;
    try {
      return await get(["video"], WISHES);
    } catch (second) {
      if (!isCalled(second, "NotFoundError")) throw second;
      return get(["audio"], WISHES);
    }
  }
}

export class Camera {
  /** What is published. It stays the same when a device comes back, so that a new connection takes what it has then. @type {MediaStream} */
  stream;
  #changed;
  /** Kinds that have been there once: only they can be lost. @type {Set<Kind>} */
  #had = new Set();
  /** Kinds that give nothing now, "ended" or "muted". @type {Map<Kind, "ended" | "muted">} */
  #lost = new Map();
  /** @type {Map<Kind, number>} */
  #timers = new Map();
  /** Why the last attempt to get them back failed. @type {{ title: string, text: string } | null} */
  #failure = null;
  #opening = false;

  /** @param {MediaStream} stream @param {() => void} changed */
  constructor(stream, changed) {
    this.stream = stream;
    this.#changed = changed;
    for (const track of stream.getTracks()) this.#follow(track);
  }

  /**
   * Opens what there is.
   * @param {() => void} changed called when something was lost or is back
   * @returns {Promise<Camera>} rejects with an error for {@link cameraTrouble}
   */
  static async open(changed) {
    return new Camera(await capture(KINDS), changed);
  }

  /** The kind that was not found; null where both were. @returns {"camera" | "microphone" | null} */
  get missing() {
    const kind = KINDS.find((each) => !this.#had.has(each));
    return kind ? NAMES[kind] : null;
  }

  /**
   * What the publisher must be told; null while all is well, or only the sound is missing.
   *
   * @returns {import("./page-words.js").Notice | null}
   */
  get notice() {
    const kinds = [...this.#lost.keys()];
    const [kind] = kinds;
    if (!kind) {
      if (this.missing !== "camera") return null;
      const text = "No camera was found. Viewers hear you and see no picture. Connect a camera, and try again.";
      return { tone: "busy", title: "You publish sound alone", text: this.#failure?.text ?? text };
    }
    const words = kinds.length === 2 ? LOST.both : LOST[kind];
    const how = kinds.some((each) => this.#lost.get(each) === "ended") ? "ended" : "muted";
    const seen = this.missing ? (words.only ?? words.text) : words.text;
    return { tone: "bad", title: words[how], text: `${seen} ${this.#failure?.text ?? TRY[how]}` };
  }

  /** The same for the status. @returns {import("./page-words.js").Words} */
  get status() {
    const { notice } = this;
    if (this.#lost.size > 0 && notice) return ["bad", `Connected, but ${notice.title.charAt(0).toLowerCase()}${notice.title.slice(1)}`];
    if (this.missing === "camera") return ["good", "Connected, you are live with sound alone"];
    return ["good", `Connected, you are live${this.missing ? " without sound" : ""}`];
  }

  /** Whether something that was there gives nothing now. */
  get isLost() {
    return this.#lost.size > 0;
  }

  /**
   * Opens anew what is lost or missing, and has the connection send it: its viewers keep theirs.
   *
   * @param {RTCPeerConnection | null} connection
   */
  async regain(connection) {
    if (this.#opening) return;
    this.#opening = true;
    try {
      const kinds = KINDS.filter((kind) => this.#lost.has(kind) || !this.#had.has(kind));
      if (kinds.length === 0) return;
      // A device that this page itself still holds may not be given out a second time.
      for (const track of this.stream.getTracks()) if (kinds.includes(kindOf(track))) track.stop();
      const found = await capture(kinds);
      this.#failure = null;
      for (const track of found.getTracks()) await this.#exchange(track, connection);
    } catch (error) {
      this.#failure = cameraTrouble(error);
    } finally {
      this.#opening = false;
    }
    this.#changed();
  }

  close() {
    this.#changed = () => {};
    for (const timer of this.#timers.values()) clearTimeout(timer);
    for (const track of this.stream.getTracks()) track.stop();
  }

  /** @param {MediaStreamTrack} track @param {RTCPeerConnection | null} connection */
  async #exchange(track, connection) {
    for (const old of this.stream.getTracks()) if (old.kind === track.kind) this.stream.removeTrack(old);
    this.stream.addTrack(track);
    this.#follow(track);
    const transceivers = connection?.getTransceivers() ?? [];
    const transceiver = transceivers.find(({ direction, receiver }) => direction === "sendonly" && receiver.track.kind === track.kind);
    await transceiver?.sender.replaceTrack(track);
  }

  /** @param {MediaStreamTrack} track */
  #follow(track) {
    const kind = kindOf(track);
    this.#had.add(kind);
    this.#set(track, null);
    track.onended = () => this.#set(track, "ended");
    track.onmute = () => this.#muted(track);
    track.onunmute = () => this.#lost.get(kind) !== "ended" && this.#set(track, null);
    if (track.muted) this.#muted(track);
  }

  /** @param {MediaStreamTrack} track */
  #muted(track) {
    const kind = kindOf(track);
    clearTimeout(this.#timers.get(kind));
    this.#timers.set(kind, setTimeout(() => track.readyState === "live" && this.#set(track, "muted"), MUTED_MS));
  }

  /** A track is lost, or well again. @param {MediaStreamTrack} track @param {"ended" | "muted" | null} how */
  #set(track, how) {
    const kind = kindOf(track);
    // One that was exchanged has nothing to say any more.
    if (!this.stream.getTracks().includes(track)) return;
    clearTimeout(this.#timers.get(kind));
    if ((this.#lost.get(kind) ?? null) === how) return;
    if (how) this.#lost.set(kind, how);
    else this.#lost.delete(kind);
    if (this.#opening) return;
    this.#failure = null;
    this.#changed();
  }
}
