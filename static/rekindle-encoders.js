/**
 * What a connection does with its video encoders around a renewal: stops them, and has them begin with a key frame.
 *
 * @module
 */

/** The part of `RTCSetParameterOptions` (WebRTC Extensions) that asks for a key frame. @typedef {{ encodingOptions: { keyFrame: boolean }[] }} Asked */

export class Encoders {
  /** A key frame is had by stopping and starting them, in place of asking: Firefox, see `stopping` in rekindle-parking.js. */
  stops = false;
  /** They have been stopped. */
  held = false;
  #pc;
  /** Settles when the last change of what is sent is done. */
  #changing = Promise.resolve();

  /** @param {RTCPeerConnection} pc */
  constructor(pc) {
    this.#pc = pc;
  }

  /**
   * Stops them until {@link refresh}, where they have to be. For long outages: nobody asks again for what they would make meanwhile.
   *
   * @type {() => Promise<void> | undefined}
   */
  hold = () => undefined;

  /** Has the next video frame be a key frame: by asking for one (WebRTC Extensions, `encodingOptions`). */
  refresh = () => this.change(({ encodings }) => ({ encodingOptions: encodings.map(() => ({ keyFrame: true })) }));

  /**
   * Changes the parameters of the video that is sent, one change after the other. What `change` returns goes with them.
   *
   * @param {(parameters: RTCRtpSendParameters) => Asked | void} change
   */
  change(change) {
    const next = async () => {
      const sender = this.#pc.getSenders().find(({ track }) => track?.kind === "video");
      if (!sender) return;
      const parameters = sender.getParameters();
      await sender.setParameters(parameters, change(parameters) ?? undefined);
    };
    return (this.#changing = this.#changing.then(next, next));
  }
}
