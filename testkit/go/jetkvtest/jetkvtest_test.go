package jetkvtest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"jetkv-testkit/jetkvtest"
)

// A busy machine takes its time.
const patience = time.Minute

func bucket(t *testing.T, s *jetkvtest.Server, ttl time.Duration) (*nats.Conn, jetstream.KeyValue) {
	t.Helper()
	nc, err := nats.Connect(s.ClientURL(), nats.Timeout(patience))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(patience))
	if err != nil {
		t.Fatal(err)
	}
	kv, err := js.CreateKeyValue(context.Background(), jetstream.KeyValueConfig{Bucket: "b", TTL: ttl})
	if err != nil {
		t.Fatal(err)
	}
	return nc, kv
}

func TestExpiry(t *testing.T) {
	s := jetkvtest.Run(t)
	ctx := context.Background()
	_, kv := bucket(t, s, time.Hour)
	if _, err := kv.PutString(ctx, "k", "v"); err != nil {
		t.Fatal(err)
	}
	s.Advance(59 * time.Minute)
	if _, err := kv.Get(ctx, "k"); err != nil {
		t.Fatal(err)
	}
	s.Advance(time.Minute + time.Second)
	if _, err := kv.Get(ctx, "k"); !errors.Is(err, jetstream.ErrKeyNotFound) {
		t.Fatalf("after an hour: %v", err)
	}
}

// An hour passes at once, and a consumer that is sent heartbeats goes on as if nothing had happened.
func TestAnAdvanceMissesNoHeartbeats(t *testing.T) {
	s := jetkvtest.Run(t)
	ctx := context.Background()
	nc, kv := bucket(t, s, 0)
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(patience))
	if err != nil {
		t.Fatal(err)
	}
	consumer, err := js.CreateConsumer(ctx, "KV_b", jetstream.ConsumerConfig{Durable: "C", AckPolicy: jetstream.AckExplicitPolicy})
	if err != nil {
		t.Fatal(err)
	}
	received, failed := make(chan jetstream.Msg, 1), make(chan error, 1)
	running, err := consumer.Consume(
		func(msg jetstream.Msg) { received <- msg },
		jetstream.PullHeartbeat(15*time.Second),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) { failed <- err }),
	)
	if err != nil {
		t.Fatal(err)
	}
	defer running.Stop()
	for range 3 {
		s.Advance(time.Hour)
		if _, err := kv.PutString(ctx, "k", "v"); err != nil {
			t.Fatal(err)
		}
		select {
		case msg := <-received:
			if err := msg.DoubleAck(ctx); err != nil {
				t.Fatal(err)
			}
		case err := <-failed:
			t.Fatal(err)
		case <-time.After(patience):
			t.Fatal("nothing comes any more")
		}
	}
}

func TestFaults(t *testing.T) {
	s := jetkvtest.Run(t)
	nc, kv := bucket(t, s, 0)
	s.Fault(jetkvtest.AckLost("$KV.b.k", 1))
	if _, err := nc.Request("$KV.b.k", []byte("v"), 200*time.Millisecond); !errors.Is(err, nats.ErrTimeout) {
		t.Fatalf("a lost acknowledgement: %v", err)
	}
	entry, err := kv.Get(context.Background(), "k")
	if err != nil || string(entry.Value()) != "v" {
		t.Fatalf("%v, %v", entry, err)
	}
	s.ClearFaults()
	s.Fault(jetkvtest.APIError("STREAM.INFO.*", 10_008, 1))
	if _, err := kv.Status(context.Background()); err == nil {
		t.Fatal("the request did not fail")
	}
	s.Reset()
	if _, err := kv.Get(context.Background(), "k"); err == nil {
		t.Fatal("the bucket is still there")
	}
	var refused *jetkvtest.LabError
	if err := s.Request("fault", "add", jetkvtest.Rule{"kind": "flood"}, nil); !errors.As(err, &refused) || refused.Code != 400 {
		t.Fatalf("a fault that there is not: %v", err)
	}
}

func TestNamesOfTheOtherPackage(t *testing.T) {
	s := jetkvtest.RunRandClientPortServer()
	nc, err := nats.Connect("nats://"+s.Addr(), nats.Timeout(patience))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if js, err := jetstream.New(nc); err != nil {
		t.Fatal(err)
	} else if _, err := js.AccountInfo(context.Background()); err == nil {
		t.Fatal("a server without JetStream has some")
	}
	s.Shutdown()
	s.WaitForShutdown()
}
