/**
 * What the page says of camera and microphone: why they cannot be had, and what viewers miss when one is lost.
 *
 * @module
 */

/** What is published. @typedef {"audio" | "video"} Kind */

/** @type {{ video: "camera", audio: "microphone" }} */
export const NAMES = { video: "camera", audio: "microphone" };

/**
 * What is wrong, by what a publisher has lost; the second text is for a publisher that has nothing else.
 *
 * @type {Record<Kind | "both", { ended: string, muted: string, text: string, only?: string }>}
 */
export const LOST = {
  video: { ended: "Your camera is gone", muted: "Your camera gives no picture", text: "Viewers see no picture any more; they still hear you.", only: "Viewers see nothing any more." },
  audio: { ended: "Your microphone is gone", muted: "Your microphone gives no sound", text: "Viewers see you, but hear nothing any more.", only: "Viewers hear nothing any more." },
  both: { ended: "Camera and microphone are gone", muted: "Camera and microphone give nothing", text: "Viewers see and hear nothing any more." },
};
export const TRY = {
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

export const unavailable = () => !navigator.mediaDevices?.getUserMedia;

/** The words for an error of {@link Camera.open}. @param {unknown} error @returns {{ title: string, text: string }} */
export function cameraTrouble(error) {
  if (unavailable()) return globalThis.isSecureContext ? INCAPABLE : INSECURE;
  const { name, message } = /** @type {Error} */ (error);
  const [title, text] = TROUBLE[name] ?? ["The camera could not be opened", `The browser says: ${(message || name).replace(/\.$/, "")}.`];
  return { title, text };
}
