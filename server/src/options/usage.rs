//! The text of `--help`.

/// What the program prints when asked for its flags, or when it does not know one.
pub(super) const TEXT: &str = "
Usage: nats-server [options]

JetKV takes the flags of nats-server v2.15.2. One dash is as good as two; `-x value` is `-x=value`.

Example: a server on any free port, with JetStream and its data in ./data, and monitoring pages on port 8222

    jetkv -a 127.0.0.1 -p -1 -m 8222 -js -sd ./data

Server:
    -a, --addr, --net <host>          Address for clients (default 0.0.0.0)
    -p, --port <port>                 Port for clients (default 4222; -1 takes any free one)
    -n, --name, --server_name <name>  Name of this server (default: its id)
    -m, --http_port <port>            Port of the monitoring pages (off unless given)
    -P, --pid <file>                  Write the process id to this file
        --ports_file_dir <dir>        Write the ports in use to <dir>/nats-server_<pid>.ports
        --client_advertise <address>  Address that clients are told to use instead of the bound one
    -c, --config <file>               Read this configuration file; flags win over it
    -t                                Check the configuration (file and flags) and exit
    -sl, --signal <signal>[=<pid>]    Signal a running server: stop, quit, term, reload, reopen, ldm;
                                      <pid> is a process id or a file that holds one

JetStream:
    -js, --jetstream                  Turn JetStream (streams, Key-Value, objects) on
    -sd, --store_dir <dir>            Keep its data below this directory

Log:
    -l, --log <file>                  Append to this file instead of stderr
    -T, --logtime                     Begin lines with the time (default true)
        --logtime_utc                 That time is UTC instead of local
    -s, --syslog                      Write to this machine's syslog instead
    -r, --remote_syslog <address>     Write to that of another one: udp://host:port, tcp://host:port
        --log_size_limit <bytes>      Start a new log file beyond this size
    -D, --debug                       Debugging lines too
    -V, --trace                       The protocol of connections too
    -VV                               The system account's as well
    -DV, -DVV                         -D with -V, -D with -VV
        --max_traced_msg_len <bytes>  Show no more of a message than this

Authorization:
        --user <name>                 Name that clients must give
        --pass <password>             Password that clients must give
        --auth <token>                Token that clients must give

TLS:
        --tls                         Clients have to speak TLS
        --tlscert <file>              Certificate of this server
        --tlskey <file>               Key of that certificate
        --tlsverify                   Clients have to show a certificate
        --tlscacert <file>            Authorities of the certificates of clients
    -ms, --https_port <port>          Port of the monitoring pages, over TLS (off unless given)

Cluster (nobody is served there yet: the port is open, and whoever connects is told so):
        --cluster, --cluster_listen <url>
                                      Where to listen for others of the cluster; not with JetStream
        --cluster_name <name>         Name of the cluster
        --cluster_advertise <address> Address that others of the cluster would be told of
        --no_advertise                Clients would not be told of others of the cluster
        --connect_retries <number>    How often another of the cluster would be tried

Not supported by JetKV yet; giving one ends the program with an error:
    --routes, --profile, --help_tls

Help:
    -h, --help                        Show this text
    -v, --version                     Show the version of nats-server that JetKV stands in for, and JetKV's own

";
