/**
 * The publisher's desk: which camera, microphone and quality, whether the screen is shown, how loud the microphone is; before going live, and
 * while live.
 *
 * @module
 */

import { Level } from "./page-level.js";
import * as memory from "./page-memory.js";
import { element, part, write } from "./page-parts.js";
import { QUALITIES, USUAL, limit, quality } from "./page-quality.js";

/** @import { Camera, Choice } from "./page-camera.js" */
/** @import { Session } from "./rekindle.js" */

/** Interval between measurements of the level, in ms. */
const LEVEL_MS = 100;

/**
 * What the desk needs of the page.
 *
 * @typedef {object} Page
 * @property {() => Camera | null} camera
 * @property {() => Session | null} publishing the session that publishes; null before going live
 * @property {() => void} render
 */

export class Desk {
  #page;
  #level = new Level();
  #video = part("camera-choice", HTMLSelectElement);
  #audio = part("microphone-choice", HTMLSelectElement);
  #quality = part("quality", HTMLSelectElement);
  #meter = part("level", HTMLMeterElement);

  /** @param {Page} page */
  constructor(page) {
    this.#page = page;
    // Those with numbers for names come first, smallest first.
    const names = Object.entries(QUALITIES).sort(([, a], [, b]) => b.width - a.width || (b.kbps ?? Infinity) - (a.kbps ?? Infinity));
    this.#quality.replaceChildren(...names.map(([value, { name }]) => new Option(name, value, value === String(USUAL), value === String(USUAL))));
    this.#video.addEventListener("change", () => this.#choose({ video: this.#video.value }));
    this.#audio.addEventListener("change", () => this.#choose({ audio: this.#audio.value }));
    this.#quality.addEventListener("change", () => this.#choose({ quality: quality(this.#quality.value) }));
    element("screen").addEventListener("click", async () => {
      const camera = page.camera();
      // What a device does that is closed and opened is not told twice.
      await (camera?.screen ? camera.turn(false, page.publishing()) : camera?.share(page.publishing()));
      page.render();
    });
    element("mute").addEventListener("click", () => page.camera()?.mute(!page.camera()?.muted));
    element("camera-off").addEventListener("click", () => page.camera()?.turn(!page.camera()?.off, page.publishing()));
    navigator.mediaDevices?.addEventListener?.("devicechange", () => this.list());
    setInterval(() => this.#measure(), LEVEL_MS);
  }

  /** What was chosen before this page was loaded again. @returns {Choice} */
  get remembered() {
    const { video, audio, quality: size } = memory.choice();
    return { ...(video && { video: String(video) }), ...(audio && { audio: String(audio) }), quality: quality(String(size)) };
  }

  /** Lists what there is; browsers tell names only to a page that was given a camera. */
  async list() {
    const camera = this.#page.camera();
    if (!camera) return;
    const devices = (await navigator.mediaDevices?.enumerateDevices().catch(() => [])) ?? [];
    fill(this.#video, devices.filter(({ kind }) => kind === "videoinput"), camera.device("video"));
    fill(this.#audio, devices.filter(({ kind }) => kind === "audioinput"), camera.device("audio"));
    this.#quality.value = String(camera.choice.quality);
  }

  /** Has a new connection send no more than was chosen. @param {Session} session */
  connected(session) {
    const camera = this.#page.camera();
    if (camera) limit(session.pc, camera.choice.quality).catch(() => {});
  }

  /** @param {boolean} shown @param {boolean} live @param {string | null} fault */
  render(shown, live, fault) {
    element("desk").hidden = !shown;
    const camera = this.#page.camera();
    for (const id of ["mute", "camera-off", "screen", "go", "cancel"]) element(id).hidden = !shown;
    if (!shown || !camera) return;
    write("desk-title", live ? "What you send" : "Before you go live");
    write("mute", camera.muted ? "Unmute mic" : "Mute mic");
    write("camera-off", camera.off ? "Camera on" : "Camera off");
    write("screen", camera.screen ? "Stop sharing" : "Share screen");
    element("screen").hidden = !navigator.mediaDevices?.getDisplayMedia;
    element("go").hidden = element("cancel").hidden = live;
    element("mute").hidden = camera.missing === "microphone";
    // What is told over the picture is not told twice.
    write("fault", (camera.notice ? null : camera.failure?.text) ?? fault ?? "");
  }

  /** @param {Partial<Choice>} choice */
  async #choose(choice) {
    const camera = this.#page.camera();
    if (!camera) return;
    const session = this.#page.publishing();
    await camera.choose(choice, session);
    if (choice.quality && session?.state === "connected") await limit(session.pc, choice.quality).catch(() => {});
    memory.chose(camera.choice);
    this.list();
    this.#page.render();
  }

  #measure() {
    const camera = this.#page.camera();
    const shown = !element("desk").hidden && !document.hidden;
    const track = shown && camera ? camera.track("audio") : null;
    this.#level.listen(track?.readyState === "live" ? track : null);
    if (!shown) return;
    this.#meter.value = this.#level.now;
    element("level-row").hidden = !this.#level.works;
  }
}

/** @param {HTMLSelectElement} select @param {MediaDeviceInfo[]} devices @param {string | undefined} used */
function fill(select, devices, used) {
  const options = devices.map(({ deviceId, label }, i) => new Option(label || `${i + 1}`, deviceId));
  if (options.length === 0) options.push(new Option("none", ""));
  select.replaceChildren(...options);
  if (used && devices.some(({ deviceId }) => deviceId === used)) select.value = used;
  select.disabled = devices.length === 0;
}
