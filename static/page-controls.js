/**
 * What a viewer can do with the picture (volume, full screen, picture in picture), and the link for others.
 *
 * @module
 */

import { element, part, write } from "./page-parts.js";

/** How long "Copied" is shown, in ms. */
const COPIED_MS = 3000;

/** iPhones give the whole screen to videos only. @typedef {HTMLVideoElement & { webkitEnterFullscreen?: () => void }} AppleVideo */

export class Controls {
  #video;
  #volume = part("volume", HTMLInputElement);
  #link = part("share", HTMLInputElement);

  /** @param {AppleVideo} video @param {string} link for viewers @param {() => void} render */
  constructor(video, link, render) {
    this.#video = video;
    this.#link.value = link;
    element("unmute").addEventListener("click", () => {
      video.muted = !video.muted;
      // Whoever wants to hear something must not find it at nothing.
      if (!video.muted && video.volume === 0) video.volume = 1;
      render();
    });
    this.#volume.addEventListener("input", () => {
      video.volume = Number(this.#volume.value);
      video.muted = video.volume === 0;
      render();
    });
    element("full").addEventListener("click", () => this.#full());
    element("pip").addEventListener("click", () => this.#pip());
    document.addEventListener("fullscreenchange", render);
    for (const event of ["enterpictureinpicture", "leavepictureinpicture", "volumechange"]) video.addEventListener(event, render);
    element("copy").addEventListener("click", () => this.#copy());
    write("share-note", isLocal() ? "This address leads to this computer only. Others need the server's own." : "");
  }

  /** @param {boolean} watches there is something to watch @param {boolean} isPublisher */
  render(watches, isPublisher) {
    const heard = watches && !isPublisher;
    for (const id of ["unmute", "volume-choice"]) element(id).hidden = !heard;
    write("unmute", this.#video.muted ? "Unmute" : "Mute");
    const volume = String(this.#video.muted ? 0 : this.#video.volume);
    if (this.#volume.value !== volume) this.#volume.value = volume;
    element("pip").hidden = !heard || !document.pictureInPictureEnabled;
    write("pip", document.pictureInPictureElement ? "Back into the page" : "Picture in picture");
    element("full").hidden = !heard || !(document.fullscreenEnabled || this.#video.webkitEnterFullscreen);
    write("full", document.fullscreenElement ? "Leave full screen" : "Full screen");
  }

  #full() {
    if (document.fullscreenElement) document.exitFullscreen().catch(() => {});
    else if (document.fullscreenEnabled) element("stage").requestFullscreen().catch(() => {});
    else this.#video.webkitEnterFullscreen?.();
  }

  #pip() {
    if (document.pictureInPictureElement) document.exitPictureInPicture().catch(() => {});
    else this.#video.requestPictureInPicture().catch(() => {});
  }

  async #copy() {
    this.#link.select();
    try {
      await navigator.clipboard.writeText(this.#link.value);
      write("copy", "Copied");
    } catch {
      // An address without TLS, or a browser that does not want it: the link is selected.
      write("copy", "Press Ctrl+C");
    }
    setTimeout(write, COPIED_MS, "copy", "Copy");
  }
}

/** Whether the page's address means this computer. */
function isLocal() {
  return /^(localhost|.*\.localhost|127(\.\d+){3}|\[::1\])$/.test(location.hostname);
}
