/**
 * What a connection does with its video encoders around a renewal: stops them, and has them begin with a key frame.
 *
 * @module
 */

/** The part of `RTCSetParameterOptions` (WebRTC Extensions) that asks for a key frame. @typedef {{ encodingOptions: { keyFrame: boolean }[] }} Asked */

export class Encoders {
  /** A key frame is had by stopping and starting them, in place of asking. */
  stops;
  #pc;
  /** Which encodings were active before they were stopped; null while they are not. @type {boolean[] | null} */
  #running = null;
  /** Settles when the last change of what is sent is done. */
  #changing = Promise.resolve();

  /** @param {RTCPeerConnection} pc @param {boolean} stops whether this browser gives a key frame only when encoders start */
  constructor(pc, stops) {
    this.#pc = pc;
    this.stops = stops;
  }

  /** They have been stopped. */
  get held() {
    return this.#running !== null;
  }

  /** Firefox: stops them until {@link refresh}. For long outages: nobody asks again for what they would make meanwhile. */
  hold() {
    if (!this.stops) return undefined;
    return this.#change(({ encodings }) => {
      this.#running ??= encodings.map(({ active = true }) => active);
      for (const encoding of encodings) encoding.active = false;
    });
  }

  /**
   * Has the next video frame be a key frame: by asking for one (WebRTC Extensions, `encodingOptions`), or, in Firefox, which does not know
   * that, by starting encoders that had been stopped.
   */
  async refresh() {
    if (!this.stops) {
      return this.#change(({ encodings }) => ({ encodingOptions: encodings.map(() => ({ keyFrame: true })) }));
    }
    if (!this.held) await this.hold();
    await this.#change(({ encodings }) => encodings.forEach((encoding, i) => (encoding.active = this.#running?.[i] ?? true)));
    this.#running = null;
  }

  /**
   * Changes the parameters of the video that is sent, one change after the other. What `change` returns goes with them.
   *
   * @param {(parameters: RTCRtpSendParameters) => Asked | void} change
   */
  #change(change) {
    const next = async () => {
      const sender = this.#pc.getSenders().find(({ track }) => track?.kind === "video");
      if (!sender) return;
      const parameters = sender.getParameters();
      await sender.setParameters(parameters, change(parameters) ?? undefined);
    };
    return (this.#changing = this.#changing.then(next, next));
  }
}
