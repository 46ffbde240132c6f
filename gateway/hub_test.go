package gateway

import "testing"

// A21: a subscription that falls behind is ended, so that it knows that it has missed something;
// the others go on.
func TestSubscriptionThatFallsBehindIsEnded(t *testing.T) {
	var h hub
	slow, quick := &listener{news: make(chan peer, maxUnheard)}, &listener{news: make(chan peer, maxUnheard)}
	start := func() *hubStream { return &hubStream{cancel: func() {}} }
	h.add(slow, start)
	h.add(quick, start)
	for range maxUnheard + 1 {
		h.spread(peer{method: newsTools})
		if m, ok := <-quick.news; !ok || m.method != newsTools {
			t.Fatal("the quick one was ended")
		}
	}
	for range maxUnheard {
		<-slow.news
	}
	if _, ok := <-slow.news; ok {
		t.Error("the slow one goes on as if it had heard everything")
	}
	h.spread(peer{method: newsTools})
	if _, ok := <-quick.news; !ok {
		t.Error("the quick one was ended, too")
	}
	h.remove(slow)
	h.remove(quick)
	if h.stream != nil {
		t.Error("nobody listens, and the stream is read")
	}
}

// The end of a stream that was given up does not end the one that took its place.
func TestEndOfAnEarlierStreamEndsNobody(t *testing.T) {
	var h hub
	var streams []*hubStream
	start := func() *hubStream {
		streams = append(streams, &hubStream{cancel: func() {}})
		return streams[len(streams)-1]
	}
	first, second := &listener{news: make(chan peer, 1)}, &listener{news: make(chan peer, 1)}
	h.add(first, start)
	h.remove(first)
	h.add(second, start)
	h.close(streams[0])
	h.spread(peer{})
	if _, ok := <-second.news; !ok || len(streams) != 2 || h.stream != streams[1] {
		t.Error("the second stream was ended")
	}
}

// Whoever subscribes while those before are being ended does not listen to a stream that has
// ended: it would hear nothing, for ever.
func TestSubscriptionJoinsNoStreamThatHasEnded(t *testing.T) {
	var h hub
	var streams []*hubStream
	start := func() *hubStream {
		streams = append(streams, &hubStream{cancel: func() {}})
		return streams[len(streams)-1]
	}
	first, second := &listener{news: make(chan peer, 1)}, &listener{news: make(chan peer, 1)}
	h.add(first, start)
	h.close(streams[0])
	h.add(second, start)
	h.remove(first)
	if _, ok := <-first.news; ok || len(streams) != 2 || h.stream != streams[1] {
		t.Errorf("%d streams were read", len(streams))
	}
}
