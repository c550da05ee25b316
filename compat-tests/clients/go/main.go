// Command driver walks through the scenarios of ../README.md with nats.go and prints one JSON line for each thing it sees.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// patience bounds every wait for something that must happen.
const patience = 40 * time.Second

type fields = map[string]any

// world is what a scenario works with.
type world struct {
	context.Context
	name string
	nc   *nats.Conn
	js   jetstream.JetStream
}

var scenarios = []struct {
	name string
	run  func(*world)
}{
	{"kv-bucket", kvBucket}, {"kv-manage", kvManage}, {"kv-values", kvValues}, {"kv-names", kvNames},
	{"kv-limits", kvLimits}, {"kv-history", kvHistory}, {"kv-keys", kvKeys}, {"kv-ttl", kvTTL},
	{"kv-watch", kvWatch}, {"kv-watch-writing", kvWatchWriting}, {"kv-two", kvTwo},
	{"kv-purge-deletes", kvPurgeDeletes}, {"kv-mirrors", kvMirrors}, {"kv-many", kvMany}, {"objects", objects},
	{"js-publish", jsPublish}, {"js-stream", jsStream}, {"js-pull", jsPull}, {"js-ordered", jsOrdered},
	{"js-push", jsPush}, {"core", core}, {"services", services}, {"kv-restart", kvRestart},
	{"faults", faults},
}

func main() {
	nc, err := nats.Connect(os.Args[1], nats.Name("driver"), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond),
		nats.ReconnectJitter(0, 0))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for _, scenario := range scenarios {
		if os.Args[2] == "all" && scenario.name != "faults" || os.Args[2] == scenario.name {
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
			play(&world{ctx, scenario.name, nc, js}, scenario.run)
			cancel()
		}
	}
}

// play runs one scenario; one that cannot go on says so and the next one begins.
func play(w *world, run func(*world)) {
	defer func() {
		if problem := recover(); problem != nil {
			w.say("stopped", fields{"error": fmt.Sprint(problem)})
		}
	}()
	run(w)
}

func (w *world) say(step string, seen fields) {
	line := fields{"scenario": w.name, "step": step}
	for name, value := range seen {
		line[name] = value
	}
	text, err := json.Marshal(line)
	must(err)
	os.Stdout.Write(append(text, '\n'))
}

// result reports a value or the error that came instead.
func (w *world) result(step string, value any, err error) {
	if err != nil {
		w.say(step, failure(err))
		return
	}
	w.say(step, fields{"value": value})
}

func failure(err error) fields {
	seen := fields{"error": err.Error()}
	var api *jetstream.APIError
	if errors.As(err, &api) {
		seen["code"], seen["err_code"] = api.Code, int(api.ErrorCode)
	}
	return seen
}

// raw sends a request as it is and reports the JSON of the answer.
func (w *world) raw(step, subject, body string) {
	answer, err := w.nc.Request(subject, []byte(body), patience)
	if err != nil {
		w.say(step, failure(err))
		return
	}
	seen := fields{"headers": answer.Header, "data": string(answer.Data)}
	if json.Valid(answer.Data) {
		seen = fields{"headers": answer.Header, "json": json.RawMessage(answer.Data)}
	}
	w.say(step, seen)
}

// ask has the harness stop the server by a signal and start it again, and returns when the server listens.
func (w *world) ask(signal string) {
	fmt.Printf("{\"ask\":%q}\n", signal)
	if !input.Scan() {
		panic("no answer from the harness")
	}
}

var input = bufio.NewScanner(os.Stdin)

func must(err error) {
	if err != nil {
		panic(err)
	}
}
