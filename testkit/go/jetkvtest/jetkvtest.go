// Package jetkvtest starts a JetKV for a test: a server of one's own, whose clock the test moves.
//
//	s := jetkvtest.Run(t)
//	nc, err := nats.Connect(s.ClientURL())
//	...
//	s.Advance(time.Hour + time.Second)
//
// RunServer, RunDefaultServer, RunRandClientPortServer and the methods of Server that tests use are called as in
// github.com/nats-io/nats-server/v2/test, so that tests which use that package change an import.
package jetkvtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

const startTime = time.Minute

// Options of a server. The zero value is a server without JetStream on a free port of this machine.
type Options struct {
	Host      string
	Port      int // 0 and less: a free one.
	JetStream bool
	StoreDir  string // Empty: one that is removed with the server.
	// ConfigFile is a configuration that is read as well; Args are further arguments of the program.
	ConfigFile string
	Args       []string
}

// DefaultTestOptions are those of RunDefaultServer.
var DefaultTestOptions = Options{Host: "127.0.0.1", Port: 4222}

// Server is a running server.
type Server struct {
	url, lab string
	dir      string
	command  *exec.Cmd
	ended    chan struct{}
	tb       testing.TB
}

// LabError is what the lab refused; Code is as HTTP has them.
type LabError struct {
	Code        int    `json:"code"`
	Description string `json:"description"`
}

func (e *LabError) Error() string { return fmt.Sprintf("%s (%d)", e.Description, e.Code) }

// Rule is a rule of faults.
type Rule map[string]any

// AckLost loses the answers to the next messages on a subject, which are stored.
func AckLost(subject string, times int) Rule {
	return Rule{"kind": "ack_lost", "where": map[string]string{"subject": subject}, "times": times}
}

// APIError answers the next requests of the API that match a pattern behind $JS.API. with an error.
func APIError(api string, errCode, times int) Rule {
	return Rule{"kind": "api_error", "where": map[string]string{"api": api}, "err_code": errCode, "times": times}
}

// Run starts a server with JetStream that ends with the test.
func Run(tb testing.TB) *Server {
	tb.Helper()
	s, err := Start(&Options{JetStream: true})
	if err != nil {
		tb.Fatal(err)
	}
	s.tb = tb
	tb.Cleanup(s.Shutdown)
	return s
}

// RunDefaultServer starts a server on the default port.
func RunDefaultServer() *Server { return RunServer(&DefaultTestOptions) }

// RunRandClientPortServer starts a server on a free port.
func RunRandClientPortServer() *Server { return RunServer(&Options{}) }

// RunServer starts a server. It panics where that fails, as the function of nats-server's package does.
func RunServer(opts *Options) *Server {
	s, err := Start(opts)
	if err != nil {
		panic(err)
	}
	return s
}

// Start starts a server.
func Start(opts *Options) (*Server, error) {
	path, err := binary()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "jetkv-")
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir, ended: make(chan struct{})}
	if err := s.run(path, opts); err != nil {
		s.Shutdown()
		return nil, err
	}
	return s, nil
}

func (s *Server) run(path string, opts *Options) error {
	ports := filepath.Join(s.dir, "ports")
	if err := os.Mkdir(ports, 0o700); err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(s.dir, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	s.command = exec.Command(path, arguments(opts, s.dir, ports)...)
	s.command.Env = append(os.Environ(), "JETKV_LAB=1")
	s.command.Stdout, s.command.Stderr = log, log
	if err := s.command.Start(); err != nil {
		s.command = nil
		return err
	}
	go func() {
		_ = s.command.Wait()
		close(s.ended)
	}()
	return s.findPorts(ports)
}

func arguments(opts *Options, dir, ports string) []string {
	host, port, store := opts.Host, opts.Port, opts.StoreDir
	if host == "" {
		host = "127.0.0.1"
	}
	if port <= 0 {
		port = -1
	}
	if store == "" {
		store = filepath.Join(dir, "store")
	}
	args := []string{"-a", host, "-p", strconv.Itoa(port), "-m", "-1", "-sd", store, "--ports_file_dir", ports}
	if opts.JetStream {
		args = append(args, "-js")
	}
	if opts.ConfigFile != "" {
		args = append(args, "-c", opts.ConfigFile)
	}
	return append(args, opts.Args...)
}

func (s *Server) findPorts(folder string) error {
	for deadline := time.Now().Add(startTime); time.Now().Before(deadline); {
		files, _ := filepath.Glob(filepath.Join(folder, "*.ports"))
		var places struct{ Nats, Monitoring []string }
		for _, file := range files {
			text, err := os.ReadFile(file)
			// It may be half written.
			if err == nil && json.Unmarshal(text, &places) == nil && len(places.Nats) > 0 && len(places.Monitoring) > 0 {
				s.url, s.lab = places.Nats[0], places.Monitoring[0]+"/lab/v1/"
				return nil
			}
		}
		select {
		case <-s.ended:
			deadline = time.Time{}
		case <-time.After(5 * time.Millisecond):
		}
	}
	text, _ := os.ReadFile(filepath.Join(s.dir, "log"))
	return fmt.Errorf("jetkv does not start:\n%s", text)
}

// binary finds the program: by JETKV_BIN, beside the test, or on PATH.
func binary() (string, error) {
	if named := os.Getenv("JETKV_BIN"); named != "" {
		return named, nil
	}
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), "jetkv")
		if _, err := os.Stat(beside); err == nil {
			return beside, nil
		}
	}
	found, err := exec.LookPath("jetkv")
	if err != nil {
		return "", errors.New("no jetkv: set JETKV_BIN, or put it on PATH")
	}
	return found, nil
}

// ClientURL is where clients connect.
func (s *Server) ClientURL() string { return s.url }

// Addr is the host and the port where clients connect.
func (s *Server) Addr() string {
	if place, err := url.Parse(s.url); err == nil {
		return place.Host
	}
	return s.url
}

// Shutdown ends the server, and removes what it stored in a folder of its own. It may be called again.
func (s *Server) Shutdown() {
	if s.command != nil {
		_ = s.command.Process.Signal(syscall.SIGTERM)
		<-s.ended
	}
	_ = os.RemoveAll(s.dir)
}

// WaitForShutdown waits until the server has ended.
func (s *Server) WaitForShutdown() { <-s.ended }

// Request makes any request to the lab. The answer goes to answer, unless that is nil.
func (s *Server) Request(group, verb string, body, answer any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	response, err := http.Post(s.lab+group+"/"+verb, "application/json", bytes.NewReader(text))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var told json.RawMessage
	if err := json.NewDecoder(response.Body).Decode(&told); err != nil {
		return err
	}
	var failed struct{ Error *LabError }
	if err := json.Unmarshal(told, &failed); err != nil {
		return err
	}
	if failed.Error != nil {
		return failed.Error
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(told, answer)
}

func (s *Server) must(group, verb string, body, answer any) {
	err := s.Request(group, verb, body, answer)
	if err == nil {
		return
	}
	if s.tb == nil {
		panic(err)
	}
	s.tb.Helper()
	s.tb.Fatal(err)
}

// Advance lets time pass.
func (s *Server) Advance(by time.Duration) {
	s.must("time", "advance", map[string]any{"by": by.Nanoseconds()}, nil)
}

// Reset takes away all that is stored, the faults and the journal; the clock runs with the system's again.
func (s *Server) Reset() { s.must("state", "reset", map[string]any{}, nil) }

// Fault adds a rule of faults; gives its number.
func (s *Server) Fault(rule Rule) uint64 {
	var added struct{ ID uint64 }
	s.must("fault", "add", rule, &added)
	return added.ID
}

// ClearFaults takes the rules of faults away.
func (s *Server) ClearFaults() { s.must("fault", "clear", map[string]any{}, nil) }
