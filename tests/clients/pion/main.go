// Pion as publisher or viewer. It has no codecs: it sends what comes by RTP on a local port, and counts the frames that it receives.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/webrtc"
)

func say(event string, facts map[string]interface{}) {
	facts["event"], facts["at"] = event, time.Now().UnixNano()/1e6
	line, _ := json.Marshal(facts)
	fmt.Println(string(line))
}

func must(err error) {
	if err != nil {
		say("error", map[string]interface{}{"problem": err.Error()})
		os.Exit(4)
	}
}

var clocks = map[string]uint32{"opus": 48000, "PCMU": 8000, "PCMA": 8000}

func main() {
	port := flag.Int("rtp-port", 0, "where media comes from, audio first")
	video := flag.String("video", "VP8", "")
	audio := flag.String("audio", "opus", "")
	only := flag.Bool("only", false, "offer no codecs but these")
	flag.Parse()
	role, endpoint := flag.Arg(0), flag.Arg(1)

	pc, err := webrtc.NewPeerConnection(webrtc.Configuration{BundlePolicy: webrtc.BundlePolicyMaxBundle})
	must(err)
	pc.OnConnectionStateChange(func(state webrtc.PeerConnectionState) {
		say("state", map[string]interface{}{"state": state.String()})
	})
	var frames [2]int64
	pc.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		for {
			packet, _, err := track.ReadRTP()
			if err != nil {
				return
			}
			// The marker ends a picture; each packet of sound is a frame of its own.
			if track.Kind() == webrtc.RTPCodecTypeAudio {
				atomic.AddInt64(&frames[0], 1)
			} else if packet.Marker {
				atomic.AddInt64(&frames[1], 1)
			}
		}
	})
	for _, one := range []struct{ kind, codec string }{{"audio", *audio}, {"video", *video}} {
		if one.codec == "none" {
			continue
		}
		if role == "watch" {
			direction := webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}
			_, err = pc.AddTransceiverFromKind(webrtc.NewRTPCodecType(one.kind), direction)
			must(err)
			continue
		}
		clock := clocks[one.codec]
		if clock == 0 {
			clock = 90000
		}
		track, err := webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: one.kind + "/" + one.codec, ClockRate: clock}, one.kind, "pion")
		must(err)
		direction := webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly}
		transceiver, err := pc.AddTransceiverFromTrack(track, direction)
		must(err)
		if *only {
			must(transceiver.SetCodecPreferences([]webrtc.RTPCodecParameters{parameters(track.Codec())}))
		}
		go forward(track, *port)
		*port += 2
	}

	offer, err := pc.CreateOffer(nil)
	must(err)
	gathered := webrtc.GatheringCompletePromise(pc)
	must(pc.SetLocalDescription(offer))
	<-gathered
	session := join(pc, endpoint)

	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM)
	for {
		select {
		case <-ended:
			request, _ := http.NewRequest(http.MethodDelete, session, nil)
			_, _ = (&http.Client{Timeout: 2 * time.Second}).Do(request)
			return
		case <-time.After(100 * time.Millisecond):
			if role == "watch" {
				say("frames", map[string]interface{}{"audio": atomic.LoadInt64(&frames[0]), "video": atomic.LoadInt64(&frames[1])})
			}
		}
	}
}

// parameters are those of Pion's own list for a codec.
func parameters(codec webrtc.RTPCodecCapability) webrtc.RTPCodecParameters {
	payload := map[string]webrtc.PayloadType{"audio/opus": 111, "audio/PCMU": 0, "audio/PCMA": 8, "video/VP8": 96, "video/VP9": 98, "video/H264": 125}
	switch codec.MimeType {
	case "audio/opus":
		codec.Channels, codec.SDPFmtpLine = 2, "minptime=10;useinbandfec=1"
	case "video/VP9":
		codec.SDPFmtpLine = "profile-id=0"
	case "video/H264":
		codec.SDPFmtpLine = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"
	}
	if codec.ClockRate == 90000 {
		codec.RTCPFeedback = []webrtc.RTCPFeedback{{Type: "nack"}, {Type: "nack", Parameter: "pli"}}
	}
	return webrtc.RTPCodecParameters{RTPCodecCapability: codec, PayloadType: payload[codec.MimeType]}
}

func join(pc *webrtc.PeerConnection, endpoint string) string {
	offer := pc.LocalDescription().SDP
	say("offer", map[string]interface{}{"sdp": offer})
	response, err := http.Post(endpoint, "application/sdp", bytes.NewBufferString(offer))
	if err != nil {
		say("answer", map[string]interface{}{"status": 0, "problem": err.Error()})
		os.Exit(3)
	}
	body, err := io.ReadAll(response.Body)
	must(err)
	if response.StatusCode != http.StatusCreated {
		say("answer", map[string]interface{}{"status": response.StatusCode, "problem": string(body)})
		os.Exit(3)
	}
	base, err := url.Parse(endpoint)
	must(err)
	location, err := base.Parse(response.Header.Get("Location"))
	must(err)
	say("answer", map[string]interface{}{"status": 201, "sdp": string(body), "location": location.String()})
	must(pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: string(body)}))
	return location.String()
}

// forward passes an encoder's RTP on.
func forward(track *webrtc.TrackLocalStaticRTP, port int) {
	socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
	must(err)
	buffer := make([]byte, 2048)
	for {
		n, _, err := socket.ReadFromUDP(buffer)
		must(err)
		packet := &rtp.Packet{}
		// RTCP of the encoder shares the port.
		if n < 12 || (buffer[1] >= 192 && buffer[1] < 224) || packet.Unmarshal(buffer[:n]) != nil {
			continue
		}
		_ = track.WriteRTP(packet)
	}
}
