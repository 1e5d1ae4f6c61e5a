/**
 * How loud the microphone is.
 *
 * @module
 */

/** Decibels below full scale that count as silence. */
const SILENCE_DB = -60;

export class Level {
  /** @type {AudioContext | null} */
  #context = null;
  /** @type {AnalyserNode | null} */
  #analyser = null;
  /** @type {MediaStreamAudioSourceNode | null} */
  #source = null;
  /** @type {MediaStreamTrack | null} */
  #track = null;
  #samples = new Float32Array(1024);

  /** Listens to this track, or to none. @param {MediaStreamTrack | null} track */
  listen(track) {
    if (track === this.#track) return;
    this.#track = track;
    this.#source?.disconnect();
    this.#source = null;
    if (!track || !globalThis.AudioContext) return void this.#context?.suspend();
    this.#context ??= new AudioContext();
    this.#analyser ??= this.#context.createAnalyser();
    this.#analyser.fftSize = this.#samples.length;
    this.#source = this.#context.createMediaStreamSource(new MediaStream([track]));
    this.#source.connect(this.#analyser);
    this.#context.resume().catch(() => {});
  }

  /** Whether it can be told: browsers without any loudspeaker measure nothing. */
  get works() {
    return this.#context?.state === "running";
  }

  /** From 0 (silence) to 1 (as loud as can be). */
  get now() {
    if (!this.#source || !this.#analyser) return 0;
    this.#analyser.getFloatTimeDomainData(this.#samples);
    return loudness(this.#samples);
  }
}

/** The loudness of samples on a scale of decibels, which matches hearing. @param {Float32Array} samples */
export function loudness(samples) {
  const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length;
  return power === 0 ? 0 : Math.min(1, Math.max(0, 1 - (10 * Math.log10(power)) / SILENCE_DB));
}
