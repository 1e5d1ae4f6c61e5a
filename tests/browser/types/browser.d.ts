// What browsers have and TypeScript's own types of the DOM do not know yet.

interface RTCRtpSender {
  /** With what is asked of the encoders once (WebRTC Extensions, `RTCSetParameterOptions`). */
  setParameters(parameters: RTCRtpSendParameters, options?: { encodingOptions?: { keyFrame?: boolean }[] }): Promise<void>;
}
