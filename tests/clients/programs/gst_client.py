"""GStreamer's webrtcbin as publisher or viewer."""

import hashlib
import re
import signal
import ssl
import threading

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

from whip import arguments, delete, post, say  # noqa: E402

PICTURE = "videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=240,framerate=30/1,format=I420 ! "
SOUND = "audiotestsrc is-live=true ! audioconvert ! audioresample ! "
SENT = {
    "VP8": PICTURE + "vp8enc deadline=1 keyframe-max-dist=30 ! rtpvp8pay",
    "VP9": PICTURE + "vp9enc deadline=1 cpu-used=8 keyframe-max-dist=30 ! rtpvp9pay",
    "H264": PICTURE + "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=30 ! video/x-h264,profile=constrained-baseline ! rtph264pay config-interval=-1",
    "opus": SOUND + "opusenc ! rtpopuspay",
    "PCMU": SOUND + "audio/x-raw,rate=8000,channels=1 ! mulawenc ! rtppcmupay",
    "PCMA": SOUND + "audio/x-raw,rate=8000,channels=1 ! alawenc ! rtppcmapay",
}
END = "-----END CERTIFICATE-----"
CLOCK = {"opus": 48000, "PCMU": 8000, "PCMA": 8000}
PAYLOAD = {"PCMU": 0, "PCMA": 8, "opus": 111}
READ = {
    "VP8": "rtpvp8depay ! vp8dec",
    "VP9": "rtpvp9depay ! vp9dec",
    "H264": "rtph264depay ! h264parse ! openh264dec",
    "OPUS": "rtpopusdepay ! opusdec",
    "PCMU": "rtppcmudepay ! mulawdec",
    "PCMA": "rtppcmadepay ! alawdec",
}


def caps(kind, codec):
    payload = PAYLOAD.get(codec, 96)
    parameters = ",encoding-params=(string)2" if codec == "opus" else ""
    return f"application/x-rtp,media={kind},encoding-name={codec.upper()},clock-rate={CLOCK.get(codec, 90000)},payload={payload}{parameters}"


class Client:
    def __init__(self, args):
        self.args = args
        self.counts = {"video": 0, "audio": 0}
        self.location = None
        self.fingerprint = None
        kinds = [(kind, codec) for kind, codec in (("audio", args.audio), ("video", args.video)) if codec != "none"]
        self.pipeline = Gst.Pipeline()
        self.web = Gst.ElementFactory.make("webrtcbin")
        if len(kinds) > 1:
            # One section alone goes without a bundle, as webrtcbin does by default.
            self.web.set_property("bundle-policy", GstWebRTC.WebRTCBundlePolicy.MAX_BUNDLE)
        self.pipeline.add(self.web)
        for kind, codec in kinds if args.role == "publish" else []:
            source = Gst.parse_bin_from_description(f"{SENT[codec]} ! capsfilter caps=\"{caps(kind, codec)}\"", True)
            self.pipeline.add(source)
            source.link(self.web)
        if args.certificate:
            with open(args.certificate) as file:
                pem = file.read()
            der = ssl.PEM_cert_to_DER_cert(pem[: pem.index(END) + len(END)])
            self.fingerprint = hashlib.sha256(der).digest().hex(":").upper()
            self.web.connect("deep-element-added", lambda _bin, _sub, element: self.certify(element, pem))
        self.web.connect("notify::connection-state", lambda *_: self.state())
        self.web.connect("notify::ice-gathering-state", lambda *_: self.gathered())
        self.web.connect("pad-added", self.pad)
        if args.role == "watch":
            for kind, codec in kinds:
                wanted = Gst.Caps.from_string(caps(kind, codec))
                self.web.emit("add-transceiver", GstWebRTC.WebRTCRTPTransceiverDirection.RECVONLY, wanted)
        self.posted = False
        self.pipeline.set_state(Gst.State.PLAYING)
        if args.role == "watch":
            GLib.idle_add(self.offer)
        else:
            self.web.connect("on-negotiation-needed", lambda *_: self.offer())

    @staticmethod
    def certify(element, pem):
        """webrtcbin makes an RSA certificate and has no property for another; its DTLS elements have."""
        factory = element.get_factory()
        if factory and factory.get_name() == "dtlssrtpdec":
            element.set_property("pem", pem)

    def state(self):
        say("state", state=self.web.get_property("connection-state").value_nick)

    def offer(self):
        self.web.emit("create-offer", None, Gst.Promise.new_with_change_func(self.offered, None))

    def offered(self, promise, _):
        reply = promise.get_reply()
        if reply.has_field("error"):
            say("error", problem=reply.get_value("error").message)
            LOOP.quit()
            return
        offer = reply.get_value("offer")
        for index in range(8):
            transceiver = self.web.emit("get-transceiver", index)
            if transceiver and self.args.role == "publish":
                transceiver.set_property("direction", GstWebRTC.WebRTCRTPTransceiverDirection.SENDONLY)
        self.web.emit("set-local-description", offer, Gst.Promise.new())

    def gathered(self):
        complete = self.web.get_property("ice-gathering-state") == GstWebRTC.WebRTCICEGatheringState.COMPLETE
        if complete and not self.posted:
            self.posted = True
            threading.Thread(target=self.join).start()

    def join(self):
        try:
            text = self.web.get_property("local-description").sdp.as_text()
            if self.fingerprint:
                # webrtcbin takes the hash over certificate and key.
                text = re.sub("(?<=a=fingerprint:sha-256 )\\S+", self.fingerprint, text)
            answer, self.location = post(self.args.url, text)
        except SystemExit:
            LOOP.quit()
            return
        _, message = GstSdp.SDPMessage.new_from_text(answer)
        description = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, message)
        self.web.emit("set-remote-description", description, Gst.Promise.new())

    def pad(self, _, pad):
        if pad.get_direction() != Gst.PadDirection.SRC:
            return
        structure = pad.get_current_caps().get_structure(0)
        kind = structure.get_string("media")
        reader = Gst.parse_bin_from_description(f"{READ[structure.get_string('encoding-name')]} ! identity name=frames ! fakesink sync=false async=false", True)
        reader.get_by_name("frames").get_static_pad("src").add_probe(Gst.PadProbeType.BUFFER, self.frame, kind)
        self.pipeline.add(reader)
        reader.sync_state_with_parent()
        pad.link(reader.get_static_pad("sink"))

    def frame(self, _pad, _info, kind):
        self.counts[kind] += 1
        return Gst.PadProbeReturn.OK

    def tell(self):
        if self.args.role == "watch":
            say("frames", **self.counts)
        return True

    def end(self):
        if self.location:
            delete(self.location)
        self.pipeline.set_state(Gst.State.NULL)
        LOOP.quit()


Gst.init(None)
LOOP = GLib.MainLoop()
client = Client(arguments())
GLib.timeout_add(100, client.tell)
GLib.unix_signal_add(GLib.PRIORITY_DEFAULT, signal.SIGTERM, client.end)
LOOP.run()
