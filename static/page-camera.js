/**
 * What the publisher sends: camera or screen, and microphone. How they are opened, chosen, muted and turned off, and what viewers see when
 * one of them is lost. Words are in page-camera-words.js.
 *
 * @module
 */

import { LOST, NAMES, TRY, cameraTrouble, unavailable } from "./page-camera-words.js";
import { card } from "./page-card.js";
import { USUAL, wishes } from "./page-quality.js";

/** @import { Kind } from "./page-camera-words.js" */
/** @import { Quality } from "./page-quality.js" */
/** @import { Session } from "./rekindle.js" */

/** Browsers mute a track for a moment at times; a longer silence than this is reported, in ms. */
const MUTED_MS = 3000;
/** @type {Kind[]} */
const KINDS = ["video", "audio"];

/** @param {MediaStreamTrack} track */
const kindOf = (track) => /** @type {Kind} */ (track.kind);

/** @param {unknown} error @param {string} name */
const isCalled = (error, name) => /** @type {Error} */ (error).name === name;

/**
 * What was chosen: a device for each kind, where it is not the browser's own choice, and the size.
 *
 * @typedef {{ video?: string, audio?: string, quality: Quality }} Choice
 */

/** These are wishes: a camera that cannot fulfil them gives what it can. @param {Choice} choice @returns {Record<Kind, MediaTrackConstraints | true>} */
function constraints({ video, audio, quality }) {
  return { audio: audio ? { deviceId: { exact: audio } } : true, video: { ...wishes(quality), ...(video && { deviceId: { exact: video } }) } };
}

/** Opens these kinds; where one does not exist, the other alone. @param {Kind[]} kinds @param {Choice} choice */
async function capture(kinds, choice) {
  if (unavailable()) throw new DOMException("no media devices", "NotSupportedError");
  const chosen = constraints(choice);
  /** @param {Kind[]} wanted @param {MediaStreamConstraints} [of] */
  const get = (wanted, of = chosen) => navigator.mediaDevices.getUserMedia(Object.fromEntries(wanted.map((kind) => [kind, of[kind]])));
  try {
    return await get(kinds);
  } catch (error) {
    if (isCalled(error, "OverconstrainedError")) return get(kinds, { audio: true, video: true });
    if (!isCalled(error, "NotFoundError") || kinds.length < 2) throw error;
    try {
      return await get(["video"]);
    } catch (second) {
      if (!isCalled(second, "NotFoundError")) throw second;
      return get(["audio"]);
    }
  }
}

export class Camera {
  /** What is published. It stays the same when a device comes back, so that a new connection takes what it has then. @type {MediaStream} */
  stream;
  /** What was chosen. @type {Choice} */
  choice;
  /** The microphone gives silence, as its owner wants it. */
  muted = false;
  /** Viewers see words in place of the camera, which is off. */
  off = false;
  /** The screen is sent in place of the camera. */
  screen = false;
  #changed;
  /** Kinds that have been there once: only they can be lost. @type {Set<Kind>} */
  #had = new Set();
  /** Kinds that give nothing now, "ended" or "muted". @type {Map<Kind, "ended" | "muted">} */
  #lost = new Map();
  /** @type {Map<Kind, ReturnType<typeof setTimeout>>} */
  #timers = new Map();
  /** Why the last attempt to get them back failed. @type {{ title: string, text: string } | null} */
  #failure = null;
  #opening = false;
  #closed = false;
  /** One thing after the other is opened, exchanged or turned off. @type {Promise<void>} */
  #work = Promise.resolve();

  /** @param {MediaStream} stream @param {Choice} choice @param {() => void} changed */
  constructor(stream, choice, changed) {
    this.stream = stream;
    this.choice = choice;
    this.#changed = changed;
    for (const track of stream.getTracks()) this.#follow(track);
  }

  /**
   * Opens what there is.
   * @param {() => void} changed called when something was lost or is back
   * @param {Choice} [choice]
   * @returns {Promise<Camera>} rejects with an error for {@link cameraTrouble}
   */
  static async open(changed, choice = { quality: USUAL }) {
    return new Camera(await capture(KINDS, choice), choice, changed);
  }

  /** The kind that was not found; null where both were. @returns {"camera" | "microphone" | null} */
  get missing() {
    const kind = KINDS.find((each) => !this.#had.has(each));
    return kind ? NAMES[kind] : null;
  }

  /** The device in use of a kind, as the browser calls it. @param {Kind} kind */
  device(kind) {
    if (kind === "video" && (this.off || this.screen)) return this.choice.video;
    return this.track(kind)?.getSettings().deviceId ?? this.choice[kind];
  }

  /** @param {Kind} kind */
  track(kind) {
    return this.stream.getTracks().find((track) => track.kind === kind) ?? null;
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
    const hidden = [this.muted && "muted", this.off && "the camera is off"].filter(Boolean).join(", ");
    if (hidden) return ["busy", `Connected, you are live: ${hidden}`];
    if (this.missing === "camera") return ["good", "Connected, you are live with sound alone"];
    return ["good", `Connected, you are live${this.missing ? " without sound" : ""}`];
  }

  /** Whether something that was there gives nothing now. */
  get isLost() {
    return this.#lost.size > 0;
  }

  /** Why the last thing that was asked of it did not work. */
  get failure() {
    return this.#failure;
  }

  /** Opens anew what is lost or missing, and has the session send it: its viewers keep theirs. @param {Session | null} session */
  async regain(session) {
    await this.#open(() => KINDS.filter((kind) => this.#lost.has(kind) || !this.#had.has(kind)), session);
  }

  /** Takes another device, or the same one in another size. @param {Partial<Choice>} choice @param {Session | null} session */
  async choose(choice, session) {
    this.choice = { ...this.choice, ...choice };
    if (choice.quality) return void (await this.track("video")?.applyConstraints(wishes(choice.quality)).catch(() => {}));
    const kind = choice.video ? "video" : "audio";
    await this.#open(() => (kind === "video" && (this.off || this.screen) ? [] : [kind]), session);
  }

  /** @param {boolean} muted */
  mute(muted) {
    this.muted = muted;
    const track = this.track("audio");
    if (track) track.enabled = !muted;
    this.#changed();
  }

  /** Turns the camera itself off, and its light; or on again. @param {boolean} off @param {Session | null} session */
  async turn(off, session) {
    if (!off) return this.#open(() => ["video"], session);
    return this.#alone(async () => {
      const words = card("The camera is off");
      if (!words) return;
      await this.#show(words, session);
      [this.off, this.screen] = [true, false];
      this.#changed();
    });
  }

  /** Sends the screen. @param {Session | null} session */
  async share(session) {
    try {
      const found = await navigator.mediaDevices.getDisplayMedia({ video: { frameRate: { ideal: 30 } } });
      const [track] = found.getVideoTracks();
      if (!track) return;
      if (this.#closed) return track.stop();
      // Text has to be sharp.
      track.contentHint = "detail";
      await this.#alone(() => this.#show(track, session));
      this.#had.add("video");
      [this.off, this.screen] = [false, true];
      // The browser's own button ends it.
      track.onended = () => this.track("video") === track && this.#open(() => ["video"], session);
    } catch (error) {
      // Whoever closes the browser's question has changed nothing.
      if (isCalled(error, "NotAllowedError")) return;
      this.#failure = { title: "The screen cannot be shared", text: `The screen cannot be shared. The browser says: ${/** @type {Error} */ (error).message.replace(/\.$/, "")}.` };
    }
    this.#changed();
  }

  close() {
    this.#closed = true;
    this.#changed = () => {};
    for (const timer of this.#timers.values()) clearTimeout(timer);
    for (const track of this.stream.getTracks()) track.stop();
  }

  /** @param {() => Promise<void>} work */
  #alone(work) {
    return (this.#work = this.#work.then(work, work));
  }

  /** Opens what is due when its turn comes. @param {() => Kind[]} due @param {Session | null} session */
  #open(due, session) {
    return this.#alone(async () => {
      const kinds = due();
      if (kinds.length > 0 && !this.#closed) await this.#reopen(kinds, session);
    });
  }

  /** @param {Kind[]} kinds @param {Session | null} session */
  async #reopen(kinds, session) {
    this.#opening = true;
    try {
      // A device that this page itself still holds may not be given out a second time.
      for (const track of this.stream.getTracks()) {
        const isCard = this.off && track.kind === "video";
        if (kinds.includes(kindOf(track)) && !isCard) track.stop();
      }
      const found = await capture(kinds, this.choice);
      if (this.#closed) return found.getTracks().forEach((track) => track.stop());
      this.#failure = null;
      for (const track of found.getTracks()) await this.#exchange(track, session);
    } catch (error) {
      this.#failure = cameraTrouble(error);
      for (const kind of kinds) if (this.track(kind)?.readyState === "ended") this.#lost.set(kind, "ended");
    } finally {
      this.#opening = false;
    }
    this.#changed();
  }

  /** @param {MediaStreamTrack} track @param {Session | null} session */
  async #exchange(track, session) {
    if (track.kind === "audio") track.enabled = !this.muted;
    else [this.off, this.screen] = [false, false];
    await this.#send(track, session);
    this.#follow(track);
  }

  /** Sends this picture in place of the camera's. @param {MediaStreamTrack} track @param {Session | null} session */
  async #show(track, session) {
    await this.#send(track, session);
    this.#lost.delete("video");
    clearTimeout(this.#timers.get("video"));
    this.#failure = null;
  }

  /** @param {MediaStreamTrack} track @param {Session | null} session */
  async #send(track, session) {
    const before = this.track(kindOf(track));
    if (before) this.stream.removeTrack(before);
    this.stream.addTrack(track);
    await session?.replaceTrack(track);
    before?.stop();
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
