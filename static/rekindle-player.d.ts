/**
 * `<rekindle-player>`: a channel in a page that wants no code of its own. Importing this file defines it; in Node nothing happens.
 *
 * Attributes: `src` (the WHEP endpoint), `controls`, `muted`, `cushion` (ms or "auto"); and for styles `state`, which the element sets itself.
 * Parts for styles: `video`, `status` (what stands over the picture while there is none). Events: those of a session, without bubbling.
 * It leaves when it is taken out of the page, joins when it is put in, and joins again when the page comes back from the browser's cache.
 */

import type { Options, Session, SessionEvents } from "./rekindle.js";

export class RekindlePlayer extends HTMLElement {
  /** The one in use; null while there is none. */
  session: Session | null;
  video: HTMLVideoElement;
  /** What is given to `watch`. Another value makes a new session. */
  options: Options;
  /** The same as `options.token`. */
  token: string | undefined;
  addEventListener<K extends keyof SessionEvents>(
    type: K,
    listener: (event: SessionEvents[K]) => void,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(type: string, listener: EventListenerOrEventListenerObject | null, options?: boolean | AddEventListenerOptions): void;
}

declare global {
  interface HTMLElementTagNameMap {
    "rekindle-player": RekindlePlayer;
  }
}
