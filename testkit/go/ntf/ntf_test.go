// Package ntf_test is a suite that asks a test service for its servers, as those of nats.go do: all that it knows is
// TESTER_NATS_URL. Without it, it runs against a service of its own, "jetkv lab serve".
package ntf_test

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"
	ntf "github.com/synadia-io/orbit.go/ntf-client"
	"github.com/synadia-io/orbit.go/ntf/api"
)

// A busy machine takes its time.
const patience = time.Minute

func TestMain(m *testing.M) {
	if os.Getenv("TESTER_NATS_URL") != "" {
		os.Exit(m.Run())
	}
	path := os.Getenv("JETKV_BIN")
	if path == "" {
		path = "jetkv"
	}
	service := exec.Command(path, "lab", "serve")
	output, err := service.StdoutPipe()
	if err == nil {
		err = service.Start()
	}
	if err != nil {
		log.Fatal(err)
	}
	line, err := bufio.NewReader(output).ReadString('\n')
	if err != nil {
		log.Fatal(err)
	}
	os.Setenv("TESTER_NATS_URL", strings.TrimSpace(line))
	code := m.Run()
	_ = service.Process.Signal(syscall.SIGTERM)
	if err := service.Wait(); err != nil {
		log.Fatal(err)
	}
	os.Exit(code)
}

func client(t *testing.T) *ntf.Client {
	t.Helper()
	c := ntf.New(t, os.Getenv("TESTER_NATS_URL"))
	t.Cleanup(func() { c.Close(t) })
	return c
}

func must[T any](t *testing.T) func(T, error) T {
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func TestAKeyIsKeptWhileItsServerIsStopped(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	client(t).WithJetStreamServer(t, func(t testing.TB, nc *nats.Conn, inst *ntf.Instance) {
		js, err := jetstream.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		kv, err := js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "b"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := kv.PutString(ctx, "k", "v"); err != nil {
			t.Fatal(err)
		}
		again := make(chan struct{}, 1)
		nc.SetReconnectHandler(func(*nats.Conn) { again <- struct{}{} })
		inst.StopServer(t, inst.Servers[0])
		inst.StartServer(t, inst.Servers[0])
		select {
		case <-again:
		case <-ctx.Done():
			t.Fatal("no reconnect")
		}
		entry, err := kv.Get(ctx, "k")
		if err != nil || string(entry.Value()) != "v" {
			t.Fatal(entry, err)
		}
	}, ntf.WithConnectOptions(nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond)))
}

func TestManyServersAreThereAtOnce(t *testing.T) {
	c := client(t)
	for i := range 8 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			inst := c.CreateServer(t, false, ntf.WithDescription(t.Name()))
			defer inst.Destroy(t)
			nc := must[*nats.Conn](t)(nats.Connect(inst.Servers[0].URL))
			defer nc.Close()
			must[time.Duration](t)(nc.RTT())
			if status := inst.Status(t); !status.Servers[0].Running || status.Description != t.Name() {
				t.Fatalf("%+v", status)
			}
		})
	}
}

func TestUsersOfOnesOwnAreReloaded(t *testing.T) {
	inst := client(t).CreateServer(t, false,
		ntf.WithAccounts(`accounts { A { users: [{user: a, password: p}] }, $SYS { users: [{user: s, password: p}] } }`),
		ntf.WithAuthorization("# nobody without a name"))
	defer inst.Destroy(t)
	if _, err := nats.Connect(inst.Servers[0].URL); err == nil {
		t.Fatal("who are you?")
	}
	must[*nats.Conn](t)(nats.Connect(inst.Servers[0].URL, nats.UserInfo("a", "p"))).Close()
	inst.UpdateServer(t, inst.Servers[0],
		ntf.WithAccounts(`accounts { A { users: [{user: b, password: p}] }, $SYS { users: [{user: s, password: p}] } }`),
		ntf.WithAuthorization("# nobody without a name"))
	inst.ReloadServer(t, inst.Servers[0])
	must[*nats.Conn](t)(nats.Connect(inst.Servers[0].URL, nats.UserInfo("b", "p"))).Close()
}

func TestCertificatesOfTheServiceAreTrusted(t *testing.T) {
	for name, options := range map[string][]ntf.TLSOpt{
		"mutual": nil,
		"server": {ntf.TLSServerOnly()},
		"first":  {ntf.TLSHandshakeFirst()},
	} {
		t.Run(name, func(t *testing.T) {
			client(t).WithServer(t, func(t testing.TB, nc *nats.Conn, inst *ntf.Instance) {
				if state, err := nc.TLSConnectionState(); err != nil || !state.HandshakeComplete {
					t.Fatal(state, err)
				}
			}, ntf.WithGeneratedTLS(options...))
		})
	}
}

func TestWebSocketsHaveAPortOfTheirOwn(t *testing.T) {
	inst := client(t).CreateServer(t, false,
		ntf.WithWebSocket("websocket { port: {{ .Ports.websocket }}, no_tls: true }"))
	defer inst.Destroy(t)
	host := strings.TrimPrefix(inst.Servers[0].URL, "nats://")
	host = host[:strings.LastIndex(host, ":")]
	url := fmt.Sprintf("ws://%s:%d", host, inst.Servers[0].Ports["websocket"])
	nc := must[*nats.Conn](t)(nats.Connect(url))
	defer nc.Close()
	must[time.Duration](t)(nc.RTT())
}

func TestALinkIsSlowAndCut(t *testing.T) {
	inst := client(t).CreateServer(t, false, ntf.WithToxics())
	defer inst.Destroy(t)
	nc := must[*nats.Conn](t)(nats.Connect(inst.Servers[0].URL, nats.MaxReconnects(-1),
		nats.ReconnectWait(10*time.Millisecond)))
	defer nc.Close()
	inst.AddToxic(t, api.Toxic{
		Name:       "slow",
		Selector:   api.ToxicSelector{Kind: api.ToxicKindClient, To: inst.Servers[0].Name, Direction: api.ToxicDirectionTo},
		Type:       api.ToxicLatency,
		Attributes: map[string]any{"latency": 20},
	})
	if rtt := must[time.Duration](t)(nc.RTT()); rtt < 20*time.Millisecond {
		t.Fatal(rtt)
	}
	if report := inst.ToxicReport(t); len(report.Links) != 1 || len(report.Links[0].Toxics) != 1 {
		t.Fatalf("%+v", report)
	}
	inst.RemoveToxic(t, "slow")
	restore := inst.Unplug(t, inst.Servers[0])
	if err := nc.FlushTimeout(100 * time.Millisecond); err == nil {
		t.Fatal("an answer came through a cut")
	}
	restore()
	// Whoever lost something comes back by a connection of its own.
	for deadline := time.Now().Add(patience); ; {
		if _, err := nc.RTT(); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the link stays cut")
		}
	}
}

func TestClustersAreRefused(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	m := must[*ntf.Manager](t)(ntf.Connect(ctx, os.Getenv("TESTER_NATS_URL")))
	defer m.Close()
	_, err := m.CreateCluster(ctx, 3, true)
	if err == nil || !strings.Contains(err.Error(), "clusters are not supported") {
		t.Fatal(err)
	}
	must[*api.ListResponse](t)(m.List(ctx))
	must[*api.StatusResponse](t)(m.Status(ctx))
}

func TestDiscoveryFindsTheService(t *testing.T) {
	nc := must[*nats.Conn](t)(nats.Connect(os.Getenv("TESTER_NATS_URL")))
	defer nc.Close()
	subject := must[string](t)(micro.ControlSubject(micro.InfoVerb, "test-management", ""))
	answer := must[*nats.Msg](t)(nc.Request(subject, nil, patience))
	if !strings.Contains(string(answer.Data), `"tester.create.server"`) {
		t.Fatalf("%s", answer.Data)
	}
}
