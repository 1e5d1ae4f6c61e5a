/**
 * `<rekindle-player src="https://media.example.org/whep/main" controls muted>`: a picture for a page that wants no code of its own.
 *
 * Its types, attributes and events are in rekindle-player.d.ts.
 *
 * @module
 */

import { watch } from "./rekindle.js";

/** @import { Options, Session, SessionEvents } from "./rekindle.js" */

/** What a session tells and this element passes on. @type {(keyof SessionEvents)[]} */
const EVENTS = ["state", "restart", "track", "source", "replaced", "unheard", "error"];
/** What stands over the picture. @type {Partial<Record<import("./rekindle.js").State, string>>} */
const WORDS = {
  connecting: "Connecting",
  waiting: "Nobody is live yet",
  "server-gone": "The server is gone. The picture goes on when it is back.",
  reconnecting: "Making a new connection",
  failed: "This cannot be watched",
};
const STYLE = `:host{display:block;position:relative;aspect-ratio:16/9;background:#000}:host([hidden]){display:none}
video{width:100%;height:100%;object-fit:contain}
p{position:absolute;inset:auto 0 0;margin:0;padding:.5em;text-align:center;font:1rem system-ui,sans-serif;color:#fff;background:#000c}p:empty{display:none}`;

/** Where there are no elements (Node), importing this file does nothing. */
const Base = /** @type {typeof HTMLElement} */ (globalThis.HTMLElement ?? class {});

export class RekindlePlayer extends Base {
  static observedAttributes = ["src", "muted", "controls", "cushion"];

  /** @type {Session | null} */
  session = null;
  /** @type {HTMLVideoElement} */
  video;
  #status;
  /** @type {Options} */
  #options = {};
  /** A session is made once the page has said all that it wants. */
  #due = false;
  /** The session is not what the page wants any more. */
  #stale = false;

  constructor() {
    super();
    const root = this.attachShadow({ mode: "open" });
    // Inline styles are not for every page; this is for all (CSP).
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(STYLE);
    root.adoptedStyleSheets = [sheet];
    this.video = Object.assign(document.createElement("video"), { autoplay: true, playsInline: true });
    this.video.part.add("video");
    this.#status = document.createElement("p");
    this.#status.part.add("status");
    this.#status.role = "status";
    root.append(this.video, this.#status);
  }

  /** What is given to `watch`; a token belongs here, and not into an attribute, where others read it. @param {Options} options */
  set options(options) {
    this.#options = { ...options };
    this.#stale = true;
    this.#restart();
  }

  get options() {
    return { ...this.#options };
  }

  /** @param {string | undefined} token */
  set token(token) {
    this.options = { ...this.#options, token };
  }

  get token() {
    return this.#options.token;
  }

  connectedCallback() {
    addEventListener("pageshow", this.#shown);
    this.#restart();
  }

  disconnectedCallback() {
    // An element that is moved is taken out and put in again.
    queueMicrotask(() => {
      if (this.isConnected) return;
      removeEventListener("pageshow", this.#shown);
      this.#leave();
    });
  }

  /** @param {string} name @param {string | null} before @param {string | null} now */
  attributeChangedCallback(name, before, now) {
    if (name === "muted") this.video.muted = now !== null;
    else if (name === "controls") this.video.controls = now !== null;
    else if (before === now) return;
    else if (name === "src") {
      this.#stale = true;
      this.#restart();
    } else if (this.session) this.session.cushion = this.#cushion;
  }

  get #cushion() {
    const said = this.getAttribute("cushion");
    return said === null || said === "auto" ? "auto" : Number(said);
  }

  /** Back from the browser's cache, without the session that was left when the page went into it. @param {PageTransitionEvent} event */
  #shown = ({ persisted }) => {
    if (persisted) this.#restart();
  };

  #leave() {
    const { session } = this;
    this.session = null;
    session?.close();
    this.video.srcObject = null;
  }

  #restart() {
    if (this.#due) return;
    this.#due = true;
    queueMicrotask(() => {
      this.#due = false;
      const src = this.getAttribute("src");
      const goesOn = this.session && !["closed", "failed"].includes(this.session.state);
      if (this.isConnected && goesOn && !this.#stale) return;
      this.#stale = false;
      this.#leave();
      if (this.isConnected && src) this.#begin(src);
    });
  }

  /** @param {string} src */
  #begin(src) {
    const session = watch(src, { cushion: this.#cushion, ...this.#options });
    this.session = session;
    const show = () => {
      if (this.video.srcObject !== session.stream) this.video.srcObject = session.stream;
      // Browsers that give sound only after a click give the picture without it.
      this.video.play().catch((error) => {
        if (error.name !== "NotAllowedError" || this.video.muted) return;
        this.video.muted = true;
        this.video.play().catch(() => {});
      });
    };
    this.#tell();
    for (const name of EVENTS) {
      session.addEventListener(name, (/** @type {Event} */ event) => {
        if (this.session !== session) return;
        const { detail } = /** @type {CustomEvent} */ (event);
        if (name === "track" || name === "replaced") show();
        this.#tell();
        this.dispatchEvent(new CustomEvent(name, { detail }));
      });
    }
  }

  /** For the page's styles (`rekindle-player[state="connected"]`), and in words. */
  #tell() {
    const { state, live } = this.session ?? { state: "closed", live: null };
    this.setAttribute("state", state);
    this.#status.textContent = WORDS[state] ?? (state === "connected" && live === false ? "The publisher has left" : "");
  }
}

if (globalThis.customElements && !customElements.get("rekindle-player")) customElements.define("rekindle-player", RekindlePlayer);
