// A WHIP and WHEP broadcast server on Pion, with one channel, to be measured by
// `rekindle-bench load --against`. As that project's own broadcast example: a TrackLocalStaticRTP
// for each kind of media, the usual interceptors, and for each connection a socket of its own.
//
//	reference-pion [HTTP ADDRESS]
//
// It prints its HTTP address. Loopback only; nobody is asked for a token.
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"

	"github.com/pion/interceptor"
	"github.com/pion/webrtc/v3"
)

// room is the server's only channel.
type room struct {
	api   *webrtc.API
	audio *webrtc.TrackLocalStaticRTP
	video *webrtc.TrackLocalStaticRTP

	mutex    sync.Mutex
	sessions map[string]*webrtc.PeerConnection
	next     int
}

func main() {
	address := "127.0.0.1:0"
	if len(os.Args) > 1 {
		address = os.Args[1]
	}
	room, err := newRoom()
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(listener.Addr())
	http.HandleFunc("/whip", func(w http.ResponseWriter, r *http.Request) {
		room.join(w, r, room.publish)
	})
	http.HandleFunc("/whep", func(w http.ResponseWriter, r *http.Request) {
		room.join(w, r, room.watch)
	})
	http.HandleFunc("/session/", room.leave)
	log.Fatal(http.Serve(listener, nil))
}

func newRoom() (*room, error) {
	media := &webrtc.MediaEngine{}
	if err := media.RegisterDefaultCodecs(); err != nil {
		return nil, err
	}
	interceptors := &interceptor.Registry{}
	if err := webrtc.RegisterDefaultInterceptors(media, interceptors); err != nil {
		return nil, err
	}
	settings := webrtc.SettingEngine{}
	settings.SetIncludeLoopbackCandidate(true)
	settings.SetIPFilter(func(ip net.IP) bool { return ip.Equal(net.IPv4(127, 0, 0, 1)) })
	settings.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	opus := webrtc.RTPCodecCapability{
		MimeType:  webrtc.MimeTypeOpus,
		ClockRate: 48000,
		Channels:  2,
	}
	audio, err := webrtc.NewTrackLocalStaticRTP(opus, "audio", "camera")
	if err != nil {
		return nil, err
	}
	vp8 := webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8, ClockRate: 90000}
	video, err := webrtc.NewTrackLocalStaticRTP(vp8, "video", "camera")
	if err != nil {
		return nil, err
	}
	return &room{
		api: webrtc.NewAPI(
			webrtc.WithMediaEngine(media),
			webrtc.WithInterceptorRegistry(interceptors),
			webrtc.WithSettingEngine(settings),
		),
		audio:    audio,
		video:    video,
		sessions: map[string]*webrtc.PeerConnection{},
	}, nil
}

// join makes a connection of an offer; prepare adds what is received or sent.
func (room *room) join(
	w http.ResponseWriter,
	r *http.Request,
	prepare func(*webrtc.PeerConnection) error,
) {
	offer, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	connection, err := room.api.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	answer, err := answered(connection, string(offer), prepare)
	if err != nil {
		_ = connection.Close()
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	room.mutex.Lock()
	place := fmt.Sprintf("/session/%d", room.next)
	room.next++
	room.sessions[place] = connection
	room.mutex.Unlock()
	w.Header().Set("Content-Type", "application/sdp")
	w.Header().Set("Location", place)
	w.WriteHeader(http.StatusCreated)
	// A client that has gone away leaves a session that ends by itself.
	_, _ = io.WriteString(w, answer)
}

func answered(
	connection *webrtc.PeerConnection,
	offer string,
	prepare func(*webrtc.PeerConnection) error,
) (string, error) {
	if err := prepare(connection); err != nil {
		return "", err
	}
	description := webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offer}
	if err := connection.SetRemoteDescription(description); err != nil {
		return "", err
	}
	answer, err := connection.CreateAnswer(nil)
	if err != nil {
		return "", err
	}
	gathered := webrtc.GatheringCompletePromise(connection)
	if err := connection.SetLocalDescription(answer); err != nil {
		return "", err
	}
	<-gathered
	return connection.LocalDescription().SDP, nil
}

// publish has what the publisher sends written to the channel's tracks.
func (room *room) publish(connection *webrtc.PeerConnection) error {
	connection.OnTrack(func(remote *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		local := room.video
		if strings.EqualFold(remote.Codec().MimeType, webrtc.MimeTypeOpus) {
			local = room.audio
		}
		for {
			packet, _, err := remote.ReadRTP()
			if err != nil {
				return
			}
			// Viewers that have gone are no reason to stop.
			_ = local.WriteRTP(packet)
		}
	})
	for _, kind := range []webrtc.RTPCodecType{
		webrtc.RTPCodecTypeAudio,
		webrtc.RTPCodecTypeVideo,
	} {
		if _, err := connection.AddTransceiverFromKind(kind, webrtc.RTPTransceiverInit{
			Direction: webrtc.RTPTransceiverDirectionRecvonly,
		}); err != nil {
			return err
		}
	}
	return nil
}

// watch adds the channel's tracks.
func (room *room) watch(connection *webrtc.PeerConnection) error {
	for _, track := range []webrtc.TrackLocal{room.audio, room.video} {
		sender, err := connection.AddTrack(track)
		if err != nil {
			return err
		}
		// Interceptors see what comes back (NACKs among it) as it is read.
		go func() {
			buffer := make([]byte, 1500)
			for {
				if _, _, err := sender.Read(buffer); err != nil {
					return
				}
			}
		}()
	}
	return nil
}

func (room *room) leave(w http.ResponseWriter, r *http.Request) {
	room.mutex.Lock()
	connection := room.sessions[r.URL.Path]
	delete(room.sessions, r.URL.Path)
	room.mutex.Unlock()
	if connection != nil {
		_ = connection.Close()
	}
	w.WriteHeader(http.StatusOK)
}
